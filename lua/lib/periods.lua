-- Periods as the gateway believes in them, and how they open. A window is {id, starts_ms, ends_ms, next_id,
-- next_ends_ms}: one kind of period, now and next, so that skewed clocks cannot move midnight.
local account = require("lib.account")
local keys = require("lib.keys")
local ledger = require("lib.ledger")

local periods = {}

-- What the ledger calls the opening of each kind.
local RESETS = { hour = "HOURLY_RESET", day = "DAILY_RESET", week = "WEEKLY_RESET", month = "MONTHLY_RESET" }

-- A window in five arguments.
function periods.window(argv, from)
  return {
    id = argv[from], starts_ms = tonumber(argv[from + 1]), ends_ms = tonumber(argv[from + 2]),
    next_id = argv[from + 3], next_ends_ms = tonumber(argv[from + 4]),
  }
end

-- Which of two windows the clock is in. Returns the period's id and its end; nil when the gateway's clock is too far off
-- to say.
function periods.at(window, now_ms)
  if now_ms < window.starts_ms then
    return nil
  elseif now_ms < window.ends_ms then
    return window.id, window.ends_ms
  elseif now_ms < window.next_ends_ms then
    return window.next_id, window.next_ends_ms
  end
  return nil
end

-- The allowances of a tier: their number, then eight arguments each. Returns a list of windows, each with its kind, amount
-- and rollover, and the index of the argument after them.
function periods.allowances(argv, from)
  local allowances, at = {}, from + 1
  for n = 1, tonumber(argv[from]) do
    allowances[n] = {
      kind = argv[at], amount = tonumber(argv[at + 1]), rollover = tonumber(argv[at + 2]),
      id = argv[at + 3], starts_ms = tonumber(argv[at + 4]), ends_ms = tonumber(argv[at + 5]),
      next_id = argv[at + 6], next_ends_ms = tonumber(argv[at + 7]),
    }
    at = at + 8
  end
  return allowances, at
end

-- Whether a period may open after the one that was opened last, nil or "" for none. An account that moved west meets a
-- date again that it had already. Ids of two lengths are those of two plans, such as a calendar month and one that
-- begins on the 17th: the new plan begins with the period that is running.
local function is_new(last_id, id)
  return not last_id or #id ~= #last_id or id > last_id
end

-- The first instant, from_ms or later, at which a period is running that may open after the one opened last.
function periods.next_opening_ms(window, last_id, from_ms)
  if from_ms < window.ends_ms and is_new(last_id, window.id) then
    return from_ms
  elseif from_ms < window.next_ends_ms and is_new(last_id, window.next_id) then
    return math.max(from_ms, window.ends_ms)
  end
  return math.max(from_ms, window.next_ends_ms)
end

-- What the period of a kind that ended last still had, while no other has opened since.
function periods.rest(book, kind)
  local name = kind .. "_rest"
  return book.account[name] or tonumber(redis.call("HGET", book.k.account, name) or "0")
end

-- Opens the period that an allowance is in, when it is due, with what rolls over from the one before. A period runs to
-- its own end, so that neither a move to another zone nor a clock put back opens a second one; and no local date is
-- opened twice. Planned; `buckets.save` writes.
function periods.open(book, allowance)
  local a, kind = book.account, allowance.kind
  if book.periods[kind] then
    return
  end
  local id, ends_ms = periods.at(allowance, book.now_ms)
  local rollover = allowance.rollover
  if a[kind] and book.now_ms < a[kind .. "_ends"] then
    id, ends_ms, rollover = a[kind], a[kind .. "_ends"], 0 -- Its key was deleted by hand: it opens anew.
  elseif not is_new(a[kind], id) then
    return
  end
  local rest, bucket = periods.rest(book, kind), kind .. ":" .. id
  local rolled = math.min(rest, rollover)
  if rest > 0 then
    account.set(a, kind .. "_rest", 0)
  end
  ledger.entry(book, RESETS[kind], bucket, allowance.amount)
  ledger.entry(book, "ROLLOVER", bucket, rolled)
  local amount = allowance.amount + rolled
  account.set(a, "granted", a.granted + amount)
  account.set(a, kind, id)
  account.set(a, kind .. "_left", amount)
  account.set(a, kind .. "_ends", ends_ms)
  book.periods[kind] = {
    kind = kind, id = id, key = keys.period(book.k, kind, id), left = amount, held = 0, opens_with = amount,
    -- What rolls over from the one before, should this one not open after all.
    rest_before = rest, ends_ms = ends_ms,
  }
end

-- When the first of the periods that are open ends; `otherwise`, when none is.
function periods.next_end_ms(book, otherwise)
  local first_ms
  for _, period in pairs(book.periods) do
    if not first_ms or period.ends_ms < first_ms then
      first_ms = period.ends_ms
    end
  end
  return first_ms or otherwise
end

return periods
