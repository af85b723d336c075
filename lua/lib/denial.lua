-- Why a call is denied, and when it will fit.
local account = require("lib.account")
local buckets = require("lib.buckets")
local periods = require("lib.periods")

local denial = {}

-- The reply to a call that a policy forbids, or whose balance does not cover it: `missing` units of `amount`.
-- violated, tightest: as policies.violated found them; states: those of all its policies.
-- What helps it stands inside, for Redis makes every function anew for each call, and few calls come here.
function denial.reply(book, id, order, allowances, amount, missing, violated, tightest, states)
  local a = book.account

  -- When each allowance opens next, and with what, when no call comes before: by kind.
  local function resets()
    local found = {}
    for _, allowance in ipairs(allowances) do
      local kind = allowance.kind
      local period = book.periods[kind]
      local rest
      if period then -- A call that is denied opens none, so nothing rolls over from one that was to open for it.
        rest = period.opens_with and period.rest_before or period.left
      else
        rest = periods.rest(book, kind)
      end
      found[kind] = {
        kind = kind, amount = allowance.amount + math.min(rest, allowance.rollover),
        at_ms = periods.next_opening_ms(allowance, a[kind], period and period.ends_ms or book.now_ms),
      }
    end
    return found
  end

  -- What a call could draw on at an instant to come.
  local function room(opens, at_ms)
    local units = 0
    for kind in string.gmatch(order, "%a+") do
      local reset, period = opens[kind], book.periods[kind]
      if kind == "credits" then
        units = units + buckets.credits_at(book, at_ms)
      elseif reset and reset.at_ms <= at_ms then
        units = units + reset.amount
      elseif period and at_ms < period.ends_ms then
        units = units + period.left
      end
    end
    return units
  end

  -- The soonest reset after which it fits: its kind, how long it is until then, and up to which amount that is so. Of
  -- those of one instant, the one that gives most. "credits", -1 and -1 when none of them is enough.
  local function soonest()
    local opens, by_time = resets(), {}
    for _, reset in pairs(opens) do
      by_time[#by_time + 1] = reset
    end
    table.sort(by_time, function(one, other)
      return one.at_ms < other.at_ms or (one.at_ms == other.at_ms and one.amount > other.amount)
    end)
    for _, reset in ipairs(by_time) do
      local units = room(opens, reset.at_ms)
      if units >= amount then
        return reset.kind, reset.at_ms - book.now_ms, units
      end
    end
    return "credits", -1, -1
  end

  local left = account.left(a)
  if missing > 0 then
    left = amount - missing
    local kind, wait_ms, most = soonest()
    violated[#violated + 1] = kind
    if not tightest or wait_ms < 0 or (tightest.wait_ms >= 0 and wait_ms > tightest.wait_ms) then
      tightest = { name = kind, wait_ms = wait_ms, most = most }
    end
  end
  return { "denied", id, tightest.name, tightest.wait_ms, left, violated, states, a.held, tightest.most or -1 }
end

return denial
