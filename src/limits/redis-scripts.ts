// What Redis does by itself, at once and undivided. A window is one key, `<mints taken> <id of the window>`, that expires when
// the window ends: time is Redis' own, so replicas need not agree on it. Redis 6 or later, or Valkey.

const READ = `
local function read (key)
  local value = redis.pcall('GET', key)
  if not value then return 0 end
  if type(value) == 'table' then return nil end
  local count, id = string.match(value, '^(%d+) (%w+)$')
  local ttl = redis.call('PTTL', key)
  if not count or ttl < 0 then return nil end
  return tonumber(count), id, ttl
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
export const TAKE = `${READ}
local marker = redis.call('GET', KEYS[1])
if ARGV[1] ~= '' and marker ~= ARGV[1] then return redis.error_reply('LOST the windows that were open') end
local windows, isFree = {}, true
for i = 2, #KEYS do
  local count, id, ttl = read(KEYS[i])
  if not count then return redis.error_reply('DAMAGED a key that is no window of ours, or has no end') end
  if count >= tonumber(ARGV[2 * i - 1]) then isFree = false end
  windows[i] = { count, ttl or tonumber(ARGV[2 * i]), id or '' }
end
local isOpening = #KEYS == 1
for i = 2, isFree and #KEYS or 1 do
  local window = windows[i]
  window[1] = window[1] + 1
  if window[3] ~= '' then
    redis.call('SET', KEYS[i], window[1] .. ' ' .. window[3], 'KEEPTTL')
  else
    isOpening = true
    window[3] = ARGV[2]
    redis.call('SET', KEYS[i], '1 ' .. ARGV[2], 'PX', ARGV[2 * i])
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

/** Gives back to the windows that are still the same. KEYS: windows. ARGV: their ids. */
export const GIVE_BACK = `${READ}
for i, key in ipairs(KEYS) do
  local count, id = read(key)
  if id == ARGV[i] then
    if count > 1 then
      redis.call('SET', key, (count - 1) .. ' ' .. id, 'KEEPTTL')
    else
      redis.call('DEL', key)
    end
  end
end
`
