-- Whether a call may pass, for all scripts that admit one. Nothing here writes; what it plans, `buckets.save` writes.
local account = require("lib.account")
local buckets = require("lib.buckets")
local denial = require("lib.denial")
local periods = require("lib.periods")
local policies = require("lib.policies")

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

-- The reply to a call that its balance or a policy forbids; nil when nothing does. missing: what its buckets could not
-- cover of `amount`; met: its policies, looked at; states: theirs.
function admission.denied(book, id, order, allowances, amount, missing, met, states)
  local a = book.account
  local violated, tightest = policies.violated(met)
  if missing > 0 then
    local kind, wait_ms, most = denial.of(book, order, allowances, amount)
    violated[#violated + 1] = kind
    if not tightest or wait_ms < 0 or (tightest.wait_ms >= 0 and wait_ms > tightest.wait_ms) then
      tightest = { name = kind, wait_ms = wait_ms, most = most }
    end
  end
  if not tightest then
    return nil
  end
  local left = missing > 0 and amount - missing or account.left(a)
  return { "denied", id, tightest.name, tightest.wait_ms, left, violated, states, a.held, tightest.most or -1 }
end

return admission
