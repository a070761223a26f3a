-- Writes the last data of calls, by the replica that gave them away.
-- KEYS: 1 the marker.
-- ARGV: for each call its id and data.
for at = 1, #ARGV, 2 do
  local key = record(ARGV[at])
  if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'rest', ARGV[at + 1]) end
end
return 1
