-- Passes a wish on to the replicas that have the calls.
-- KEYS: 1 the marker.
-- ARGV: 1 what is wished, then the calls.
-- Answers how many of them there are.
local count = 0
for at = 2, #ARGV do
  local id = ARGV[at]
  local owner, state = unpack(redis.call('HMGET', record(id), 'owner', 'state'))
  if owner and state ~= 'done' then
    count = count + 1
    redis.call('HSETNX', record(id), 'wish', ARGV[1])
    post(owner, id .. ' ' .. ARGV[1])
  end
end
return count
