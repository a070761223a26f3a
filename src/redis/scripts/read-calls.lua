-- Reads calls for their callers and for administration.
-- KEYS: 1 the marker.
-- ARGV: their ids.
-- Answers for each the time, then caller, policy, owner, state, born, wish, view, data, rest, waits and from; what is
-- absent is nil.
local answer = {}
for i, id in ipairs(ARGV) do
  answer[i] = redis.call('HMGET', record(id), 'caller', 'policy', 'owner', 'state', 'born', 'wish', 'view',
    'data', 'rest', 'waits', 'from')
  table.insert(answer[i], 1, whole(millis()))
end
return answer
