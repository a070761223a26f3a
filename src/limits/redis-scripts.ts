// What Redis does by itself, at once and undivided. A window is one key, `<mints taken> <id of the window>` and, once
// it has given some, ` <refunds>`. It expires when the window ends: time is Redis' own, so replicas need not agree on it.
// Redis 6 or later, or Valkey.

const WINDOW = `
-- Lua reads any number of digits as a number, and writes a long one as another: only what we would write counts.
local function number (digits)
  local value = tonumber(digits)
  return value and string.format('%.0f', value) == digits and #digits < 16 and value or nil
end
local function read (key)
  local value = redis.pcall('GET', key)
  if not value then return 0, '', nil, 0 end
  if type(value) == 'table' then return nil end
  local digits, id, refunds = string.match(value, '^(%d+) (%w+) ?(%d*)$')
  local count = number(digits)
  refunds = number(refunds == '' and '0' or refunds)
  local ttl = redis.call('PTTL', key)
  if not count or not refunds or ttl < 0 then return nil end
  return count, id, ttl, refunds
end
local function write (key, count, id, refunds, ...)
  redis.call('SET', key, string.format(refunds > 0 and '%.0f %s %.0f' or '%.0f %s', count, id, refunds), ...)
end
`

/**
 * Takes one from every window, or from none where one has nothing left.
 * KEYS: the marker, then windows. ARGV: the marker expected ('' for any), the id of whatever is opened now, then for each
 * window its limit (0 only looks) and its length in milliseconds.
 * Answers whether it took, the marker, then for each window count, milliseconds left and id.
 *
 * Nothing else tells windows that Redis lost (a restart without persistence, FLUSHALL) from windows that nobody has opened:
 * the marker outlives every window, so where it is another one, or gone, windows are gone too.
 */
export const TAKE = `${WINDOW}
local marker = redis.call('GET', KEYS[1])
if ARGV[1] ~= '' and marker ~= ARGV[1] then return redis.error_reply('LOST the windows that were open') end
local windows, isFree = {}, true
for i = 2, #KEYS do
  local count, id, ttl, refunds = read(KEYS[i])
  if not count then return redis.error_reply('DAMAGED a key that is no window of ours, or has no end') end
  if count >= tonumber(ARGV[2 * i - 1]) then isFree = false end
  windows[i] = { count, ttl or tonumber(ARGV[2 * i]), id, refunds }
end
local isOpening = #KEYS == 1
for i = 2, isFree and #KEYS or 1 do
  local window = windows[i]
  window[1] = window[1] + 1
  if window[3] ~= '' then
    write(KEYS[i], window[1], window[3], window[4], 'KEEPTTL')
  else
    isOpening = true
    window[3] = ARGV[2]
    write(KEYS[i], 1, ARGV[2], 0, 'PX', ARGV[2 * i])
  end
end
if isOpening then
  marker = marker or ARGV[2]
  redis.call('SET', KEYS[1], marker, 'PX', 172800000)
end
local answer = { isFree and 1 or 0, marker or '' }
for i = 2, #KEYS do
  for part = 1, 3 do answer[#answer + 1] = windows[i][part] end
end
return answer
`

/**
 * Gives back to the windows that are still the same.
 * KEYS: windows, the caller's own first. ARGV: for each its id, and how many refunds it gives at most. '' is no bound:
 * such a window refuses only where the windows before it did, and none gave. A window that gave refunds stays open at
 * zero, or their number would begin with each mint.
 */
export const GIVE_BACK = `${WINDOW}
local isRefused, isGiven = false, false
for i, key in ipairs(KEYS) do
  local count, id, _, refunds = read(key)
  if count and count > 0 and id == ARGV[2 * i - 1] then
    local bound = tonumber(ARGV[2 * i])
    if bound and refunds >= bound or not bound and isRefused and not isGiven then
      isRefused = true
    else
      isGiven = true
      count = count - 1
      if bound then refunds = refunds + 1 end
      if count == 0 and refunds == 0 then redis.call('DEL', key) else write(key, count, id, refunds, 'KEEPTTL') end
    end
  end
end
`
