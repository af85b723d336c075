-- Whether a call may pass, for all scripts that admit one. Nothing here writes; what it plans, `buckets.save` writes.
local buckets = require("lib.buckets")
local periods = require("lib.periods")

local admission = {}

-- The reply to a caller that believes in another version of the account than the one that stands.
function admission.stale(k, id, a)
  local opened = redis.call("HMGET", k.account, "anchor", "first_seen")
  return { "stale", id, a.version, a.tier, a.zone, opened[1] or "", tonumber(opened[2]) }
end

-- The book of a call, with the periods it falls in opened when they are due; a new account with its sign-up grant.
-- nil when now is in none of the caller's windows.
function admission.book(k, now_ms, skew_ms, a, allowances, signup)
  for _, allowance in ipairs(allowances) do
    if not periods.at(allowance, now_ms) then
      return nil
    end
  end
  local book = buckets.book(k, now_ms, skew_ms, a)
  if a.is_new then
    buckets.sign_up(book, signup)
  end
  for _, allowance in ipairs(allowances) do
    periods.open(book, allowance)
  end
  return book
end

return admission
