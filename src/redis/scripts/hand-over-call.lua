-- The last that the replica which gave a call away knows of it.
-- KEYS: 1 the marker.
-- ARGV: 1 the call, 2 data.
local key = record(ARGV[1])
if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'rest', ARGV[2]) end
return 1
