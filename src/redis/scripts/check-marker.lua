-- Shows whether Redis takes writes, and whether it still has its data.
-- KEYS: 1 the marker.
-- ARGV: 1 the marker expected ('' for any), 2 one to set where there is none.
-- Answers the marker.
local marker = redis.call('GET', KEYS[1]) or ARGV[2]
assertMarker(marker, ARGV[1])
redis.call('SET', KEYS[1], marker, 'PX', 172800000)
return marker
