-- The keys of calls, for every script about them. All carry the one tag, so the keys that a script finds by itself lie
-- in the slot of those that it was given.
--
-- calls:call:<id>         hash: caller, policy, owner, from (the replica that had it before), fence, state, born,
--                         saved, seconds, slots, mints, data, view, line, wish, heir (the call that gets its place),
--                         waits (the call whose place it gets), rest (its last data, by the replica that gave it away)
-- calls:all               ids, by birth
-- calls:caller:<caller>   ids that have a place, by birth; calls:policy:<policy> likewise
-- calls:of:<replica>      ids that it watches, by birth; calls:inbox:<replica> what others want of it
-- calls:offered           ids that a replica which stops gives away
-- calls:leases            replicas, by the end of their lease; calls:leaving those that take no calls any more
-- calls:unknown           there while places may be missing, since Redis has lost its data
--
-- States: creating, unknown, setup, live, offered, ending, claimed, done.
-- Times are milliseconds of Redis' own clock. A fence is its time in microseconds when a replica took the call: a write
-- with a lower one comes from a replica that has lost it.
local P = '{ephemint}:calls:'
local KEEP_DONE_MS, UNKNOWN_MS, INBOX_MS = 300000, 15000, 60000

local function whole (number) return string.format('%.0f', number) end

local function micros ()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

local function millis () return math.floor(micros() / 1000) end

local function record (id) return P .. 'call:' .. id end

local function isFenced (id, fence)
  local have = redis.call('HGET', record(id), 'fence')
  return have and (tonumber(have) or 0) > tonumber(fence)
end

-- The call was taken over before its record had the id at upstream: only the replica that created it knows that id.
local function isTakenForLost (state) return state == 'creating' or state == 'unknown' end

-- Messages expire after this: a replica that has not read them by then has lost its lease, and the replica that takes
-- its calls over reads `wish` in their records.
local function post (replica, message)
  redis.call('RPUSH', P .. 'inbox:' .. replica, message)
  redis.call('PEXPIRE', P .. 'inbox:' .. replica, INBOX_MS)
end

-- Sets are written as often as the call is: after Redis was emptied they come back with it.
local function enter (id, replica, born, caller, policy, hasPlace)
  redis.call('ZADD', P .. 'all', born, id)
  redis.call('ZADD', P .. 'of:' .. replica, born, id)
  -- Adds a replica whose lease has run out and was removed: others then find the calls that it wrote late.
  redis.call('ZADD', P .. 'leases', 'NX', whole(millis()), replica)
  if hasPlace then redis.call('ZADD', P .. 'caller:' .. caller, born, id) end
  if hasPlace then redis.call('ZADD', P .. 'policy:' .. policy, born, id) end
end

local function forget (id)
  local fields = redis.call('HMGET', record(id), 'caller', 'policy', 'owner')
  redis.call('ZREM', P .. 'all', id)
  redis.call('ZREM', P .. 'offered', id)
  if fields[1] then redis.call('ZREM', P .. 'caller:' .. fields[1], id) end
  if fields[2] then redis.call('ZREM', P .. 'policy:' .. fields[2], id) end
  if fields[3] then redis.call('ZREM', P .. 'of:' .. fields[3], id) end
end

-- After data was lost, owners have a while to write their calls down before others take places.
local function assertMarker (marker, expected)
  if expected == '' or marker == expected then return false end
  redis.call('SET', P .. 'unknown', 1, 'PX', UNKNOWN_MS)
  return true
end
