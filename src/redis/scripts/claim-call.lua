-- The end of a call, before its line is written: from here on no other replica ends it in another way.
-- KEYS: 1 the marker.
-- ARGV: 1 the call, 2 its fence, 3 the line, 4 the view.
-- Answers 1, or 0 where another replica has it.
local id, fence, line, view = unpack(ARGV)
if isFenced(id, fence) and not isTakenForLost(redis.call('HGET', record(id), 'state')) then return 0 end
local isKnown = redis.call('EXISTS', record(id)) == 1
redis.call('HSET', record(id), 'fence', fence, 'state', 'claimed', 'line', line, 'view', view)
-- Redis was emptied since: no other replica would find it, should this one be killed before its line is written.
if not isKnown then redis.call('PEXPIRE', record(id), KEEP_DONE_MS) end
return 1
