-- Takes the place of a call, one from every window of mints and the seconds, or nothing at all.
-- KEYS: those of take.
-- ARGV: 1 the call, 2 the replica, 3 its caller, 4 its policy, 5 how many the caller may have, 6 `replace` or `refuse`,
--   7 how many the policy may have ('' for any), 8 data, 9 `deny` where places that are unknown refuse; then those of
--   take.
-- Answers `in_progress`, `total` or `unknown`; else its fence, the call that it replaces or '', and what take answers.
local HEAD = 9
local id, replica, caller, policy, concurrent, whenFull, total, data, onLoss = unpack(ARGV, 1, HEAD)
local argv = { unpack(ARGV, HEAD + 1) }
local isLost = assertMarker(redis.call('GET', KEYS[1]), argv[1])
if onLoss == 'deny' and (isLost or redis.call('EXISTS', P .. 'unknown') == 1) then return { 'unknown' } end

local own, old = {}, nil
for _, other in ipairs(redis.call('ZRANGE', P .. 'caller:' .. caller, 0, -1)) do
  if redis.call('EXISTS', record(other)) == 1 then own[#own + 1] = other end
end
if #own >= tonumber(concurrent) then
  if whenFull == 'refuse' or #own > tonumber(concurrent) then return { 'in_progress' } end
  for _, other in ipairs(own) do
    local state, heir = unpack(redis.call('HMGET', record(other), 'state', 'heir'))
    if heir then return { 'in_progress' } end
    if not old and (state == 'live' or state == 'offered') then old = other end
  end
  if not old then return { 'in_progress' } end
end
local oldPolicy, oldOwner, born, seconds, slots
if old then
  oldPolicy, oldOwner, born, seconds, slots =
    unpack(redis.call('HMGET', record(old), 'policy', 'owner', 'born', 'seconds', 'slots'))
end
local isCounted = oldPolicy ~= policy
if total ~= '' and redis.call('ZCARD', P .. 'policy:' .. policy) - (isCounted and 0 or 1) >= tonumber(total) then
  return { 'total' }
end

local now = micros()
-- The seconds that the old call will give back; none where its record is damaged.
local isRead, ids = pcall(cjson.decode, slots)
if isRead and type(ids) == 'table' and tonumber(seconds) and tonumber(born) then
  local credit = math.max(0, tonumber(seconds) - math.ceil((now / 1000 - tonumber(born)) / 1000))
  local mints = tonumber(argv[3])
  for i = mints + 1, #KEYS - 1 do
    local at = 5 + 2 * (#KEYS - 1) + 2 * (i - mints) - 1
    if ids[KEYS[i + 1]] then argv[at], argv[at + 1] = ids[KEYS[i + 1]], credit end
  end
end
local taken = take(KEYS, argv)
if taken.err or taken[1] == 0 then return taken.err and taken or { '0', '', taken } end

local mints, ids = {}, {}
for i = 1, #KEYS - 1 do (i <= tonumber(argv[3]) and mints or ids)[KEYS[i + 1]] = taken[3 + 3 * i] end
redis.call('HSET', record(id), 'caller', caller, 'policy', policy, 'owner', replica, 'fence', whole(now),
  'state', 'creating', 'born', whole(now / 1000), 'saved', whole(now / 1000), 'seconds', taken[3],
  'slots', next(ids) and cjson.encode(ids) or '{}', 'mints', next(mints) and cjson.encode(mints) or '{}', 'data', data)
enter(id, replica, whole(now / 1000), caller, policy, not old)
if old then
  redis.call('HSET', record(id), 'waits', old)
  redis.call('HSET', record(old), 'heir', id)
  redis.call('HSETNX', record(old), 'wish', 'replaced')
  post(oldOwner, old .. ' replaced')
  if isCounted then redis.call('ZADD', P .. 'policy:' .. policy, whole(now / 1000), id) end
end
return { whole(now), old or '', taken }
