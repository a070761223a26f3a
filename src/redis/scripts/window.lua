-- A window is one key: `<taken> <id of the window>` and, once it has given some, ` <refunds>`.
-- It expires when the window ends: time is Redis' own, so replicas need not agree on it. Redis 6 or later, or Valkey.

-- Lua reads any number of digits as a number, and writes a long one as another: only what we would write counts.
local function number (digits)
  local value = tonumber(digits)
  return value and string.format('%.0f', value) == digits and #digits < 16 and value or nil
end

-- Taken, id, milliseconds left, refunds. Nil where the key is no window of ours, or has no end.
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

local function lower (key, count, id, refunds, amount)
  count = math.max(0, count - amount)
  if count == 0 and refunds == 0 then redis.call('DEL', key) else write(key, count, id, refunds, 'KEEPTTL') end
end
