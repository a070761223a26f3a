-- Takes calls that a stopping replica offers, then those of replicas whose lease ran out, the oldest first; before
-- them those that it took itself, where the answer was lost.
-- KEYS: 1 the marker.
-- ARGV: 1 the replica that takes them, 2 how many at most, 3 `offered` for those alone, then what it took itself.
-- Answers for each call its id, its new fence, the time, the replica that had it, 1 where that one gave it away, and
-- its record.
local replica, most, isOnlyOffered = ARGV[1], tonumber(ARGV[2]), ARGV[3] == 'offered'
local answer, seen = {}, 0

local function take (id, from, isOffered)
  local fields = redis.call('HMGET', record(id), 'owner', 'fence', 'born', 'state')
  seen = seen + 1
  redis.call('ZREM', P .. 'offered', id)
  if from then redis.call('ZREM', P .. 'of:' .. from, id) end
  if not fields[1] or fields[4] == 'done' then
    redis.call('ZREM', P .. 'all', id)
    return
  end
  -- Written down by another replica meanwhile; or its own replica ends it.
  if from and fields[1] ~= from or isOffered and fields[4] ~= 'offered' then return end
  local now = micros()
  -- Either may be damaged.
  local fence, born = whole(math.max(now, (tonumber(fields[2]) or 0) + 1)), tonumber(fields[3]) or 0
  redis.call('ZREM', P .. 'of:' .. fields[1], id)
  redis.call('ZADD', P .. 'of:' .. replica, whole(born), id)
  redis.call('HSET', record(id), 'owner', replica, 'fence', fence, 'from', fields[1])
  if fields[1] ~= replica then redis.call('HDEL', record(id), 'rest') end
  if isOffered then
    redis.call('HSET', record(id), 'state', 'live')
    post(fields[1], id .. ' taken')
  end
  answer[#answer + 1] = {
    id, fence, whole(now / 1000), fields[1], isOffered and 1 or 0, redis.call('HGETALL', record(id))
  }
end

for at = 4, #ARGV do take(ARGV[at], replica, false) end
for _, id in ipairs(redis.call('ZRANGE', P .. 'offered', 0, most - 1)) do take(id, nil, true) end
for _, dead in ipairs(isOnlyOffered and {} or redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', whole(millis()))) do
  local of = P .. 'of:' .. dead
  if dead ~= replica and seen < most then
    for _, id in ipairs(redis.call('ZRANGE', of, 0, most - seen - 1)) do take(id, dead, false) end
    if redis.call('ZCARD', of) == 0 then
      redis.call('ZREM', P .. 'leases', dead)
      redis.call('SREM', P .. 'leaving', dead)
      redis.call('DEL', P .. 'inbox:' .. dead)
    end
  end
end
return answer
