-- The ids of calls that are not over.
-- KEYS: 1 the marker.
-- ARGV: 1 `caller` or `of`, and 2 whose; or 1 `all`.
return redis.call('ZRANGE', P .. ARGV[1] .. (ARGV[2] and ':' .. ARGV[2] or ''), 0, -1)
