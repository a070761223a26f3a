-- Gives back the place of a call, and seconds that were not used, once. Its heir gets the place in the same moment.
-- KEYS: 1 the marker.
-- ARGV: 1 the call, 2 its fence, 3 how many seconds go back ('' for all that it took, and what it counts as a mint).
-- Answers 1, or 0 where there is no such call any more, another replica has it, or its own one ends it.
local id, fence, seconds = unpack(ARGV)
local key = record(id)
local state, slots, mints, heir, waits, line, all =
  unpack(redis.call('HMGET', key, 'state', 'slots', 'mints', 'heir', 'waits', 'line', 'seconds'))
if not state or state == 'done' or isFenced(id, fence) then return 0 end
if state == 'claimed' and seconds == '' then return 0 end
local function giveBack (windows, amount)
  local isRead, ids = pcall(cjson.decode, windows)
  for window, windowId in pairs(amount and amount > 0 and isRead and type(ids) == 'table' and ids or {}) do
    local count, open, _, refunds = read(window)
    if count and count > 0 and open == windowId then lower(window, count, open, refunds, amount) end
  end
end
giveBack(slots, tonumber(seconds == '' and all or seconds))
if seconds == '' then giveBack(mints, 1) end
forget(id)
if waits then redis.call('HDEL', record(waits), 'heir') end
local heirs = heir and redis.call('HMGET', record(heir), 'owner', 'born', 'caller', 'policy') or {}
if heirs[1] then
  enter(heir, heirs[1], heirs[2], heirs[3], heirs[4], true)
  redis.call('HDEL', record(heir), 'waits')
end
if line then
  redis.call('HSET', key, 'state', 'done')
  redis.call('HDEL', key, 'data', 'rest', 'slots', 'mints', 'heir', 'line')
  redis.call('PEXPIRE', key, KEEP_DONE_MS)
else
  redis.call('DEL', key)
end
return 1
