-- Gives back to the windows that are still the same.
-- KEYS: windows, a caller's own before the totals.
-- ARGV: for each window its id, how much is given back, and how many refunds it gives at most. '' is no bound: such a
--   window refuses only where the windows before it did, and none gave. A window that gave refunds stays open at zero,
--   or their number would begin again with each mint.
local isRefused, isGiven = false, false
for i, key in ipairs(KEYS) do
  local count, id, _, refunds = read(key)
  if count and count > 0 and id == ARGV[3 * i - 2] then
    local bound = tonumber(ARGV[3 * i])
    if bound and refunds >= bound or not bound and isRefused and not isGiven then
      isRefused = true
    else
      isGiven = true
      if bound then refunds = refunds + 1 end
      lower(key, count, id, refunds, tonumber(ARGV[3 * i - 1]))
    end
  end
end
