-- Writes calls down, also where Redis has lost them.
-- KEYS: 1 the marker.
-- ARGV: 1 the replica; then for each call its id, fence, caller, policy, state, age in milliseconds, seconds, data,
--   view.
-- Answers for each call its fence, which is another one where it was taken for lost; 0 where another replica has it or
-- it is over.
local FIELDS = 9
local replica, now, answer = ARGV[1], millis(), {}
for at = 2, #ARGV, FIELDS do
  local id, fence, caller, policy, state, age, seconds, data, view = unpack(ARGV, at, at + FIELDS - 1)
  local key = record(id)
  local before, waits, owner, have = unpack(redis.call('HMGET', key, 'state', 'waits', 'owner', 'fence'))
  local isOver, isLost = before == 'done' or before == 'claimed', isFenced(id, fence)
  if isLost and state ~= 'unknown' and isTakenForLost(before) then
    isLost, fence = false, whole(math.max(micros(), tonumber(have) + 1))
    redis.call('ZREM', P .. 'of:' .. (owner or ''), id)
  end
  answer[#answer + 1] = (isOver or isLost) and 0 or tonumber(fence)
  if answer[#answer] ~= 0 then
    local born = whole(now - age)
    redis.call('HSET', key, 'caller', caller, 'policy', policy, 'owner', replica, 'fence', fence, 'state', state,
      'born', born, 'saved', whole(now), 'seconds', seconds, 'data', data, 'view', view)
    enter(id, replica, born, caller, policy, not waits)
    if state == 'offered' then redis.call('ZADD', P .. 'offered', born, id)
    else redis.call('ZREM', P .. 'offered', id) end
  end
end
return answer
