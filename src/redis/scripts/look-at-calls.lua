-- Renews the lease of a replica, twice a second, and answers the state of its calls and of other replicas.
-- KEYS: 1 the marker.
-- ARGV: 1 the replica, 2 for how many milliseconds its lease is renewed, 3 the marker that it saw last ('' for none),
--   4 a marker to set where there is none, 5 `leaving` where it takes no calls of others any more, 6 how many messages
--   it has handled since.
-- Answers the marker, whether data was lost, how many calls it has, how many others offer, how many replicas have no
-- lease any more, how many others take calls, its messages, a hundred at most, each `<call> <what>`, and how many
-- milliseconds of its lease were left (nil where it had none).
local MESSAGES, MARKER_MS = 100, 172800000
local replica, lease, expected, fresh, phase, handled = unpack(ARGV)
local marker = redis.call('GET', KEYS[1])
if not marker then
  marker = fresh
  redis.call('SET', KEYS[1], marker, 'PX', MARKER_MS)
end
local isLost = assertMarker(marker, expected)
local now, inbox = millis(), P .. 'inbox:' .. replica
local leases, farthest, left = redis.call('ZRANGE', P .. 'leases', 0, -1, 'WITHSCORES'), now + 2 * lease, nil
for i = 1, #leases, 2 do
  if leases[i] == replica then left = whole(leases[i + 1] - now) end
  -- Written before Redis' clock was set back.
  if lease ~= '0' and tonumber(leases[i + 1]) > farthest then
    redis.call('ZADD', P .. 'leases', whole(farthest), leases[i])
  end
end
redis.call('ZADD', P .. 'leases', whole(now + lease), replica)
redis.call(phase == 'leaving' and 'SADD' or 'SREM', P .. 'leaving', replica)
local others = 0
for _, other in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '(' .. whole(now), '+inf')) do
  if other ~= replica and redis.call('SISMEMBER', P .. 'leaving', other) == 0 then others = others + 1 end
end
-- Not before they are handled: an answer may be lost.
redis.call('LTRIM', inbox, handled, -1)
local messages = redis.call('LRANGE', inbox, 0, MESSAGES - 1)
return {
  marker, isLost and 1 or 0, redis.call('ZCARD', P .. 'of:' .. replica), redis.call('ZCARD', P .. 'offered'),
  redis.call('ZCOUNT', P .. 'leases', '-inf', whole(now)), others, messages, left
}
