-- Takes one from every window of mints and the same number of seconds from every window of seconds, or nothing at all.
-- KEYS: the marker, then windows of mints, then windows of seconds.
-- ARGV: 1 the marker expected ('' for any), 2 the id of each window that is opened now, 3 how many windows count mints,
--   4 the most and 5 the fewest seconds to take; then for each window its limit (0 only looks) and its length in
--   milliseconds; then for each window of seconds the id of a window that a call is about to give back to, and how
--   much.
-- Answers whether it took, the marker, the seconds taken, then for each window what is taken, milliseconds left and id.
--
-- Nothing else distinguishes windows that Redis lost (a restart without persistence, FLUSHALL) from windows that were
-- never opened: the marker outlives every window, so where it is another one, or gone, windows are gone too.
local HEAD = 5
local function take (keys, argv)
  local marker = redis.call('GET', keys[1])
  if argv[1] ~= '' and marker ~= argv[1] then return redis.error_reply('LOST the windows that were open') end
  local mints, seconds = tonumber(argv[3]), tonumber(argv[4])
  local windows, isFree = {}, true
  for i = 1, #keys - 1 do
    local count, id, ttl, refunds = read(keys[i + 1])
    if not count then return redis.error_reply('DAMAGED a key that is no window of ours, or has no end') end
    local limit = tonumber(argv[HEAD + 2 * i - 1])
    windows[i] = { count, ttl or tonumber(argv[HEAD + 2 * i]), id, refunds }
    if i <= mints then
      if count >= limit then isFree = false end
    else
      local at = HEAD + 2 * (#keys - 1) + 2 * (i - mints) - 1
      local credit = id ~= '' and argv[at] == id and tonumber(argv[at + 1]) or 0
      seconds = math.min(seconds, limit - count + credit)
    end
  end
  if seconds < tonumber(argv[5]) then isFree = false end
  local isOpening = #keys == 1
  for i = 1, isFree and #keys - 1 or 0 do
    local window = windows[i]
    window[1] = window[1] + (i <= mints and 1 or seconds)
    if window[3] ~= '' then
      write(keys[i + 1], window[1], window[3], window[4], 'KEEPTTL')
    else
      isOpening = true
      window[3] = argv[2]
      write(keys[i + 1], window[1], argv[2], 0, 'PX', argv[HEAD + 2 * i])
    end
  end
  if isOpening then
    marker = marker or argv[2]
    redis.call('SET', keys[1], marker, 'PX', 172800000)
  end
  local answer = { isFree and 1 or 0, marker or '', isFree and seconds or 0 }
  for i = 1, #keys - 1 do
    for part = 1, 3 do answer[#answer + 1] = windows[i][part] end
  end
  return answer
end
