-- Periods as the gateway believes in them. A window is {id, starts_ms, ends_ms, next_id, next_ends_ms}: one kind of
-- period, now and next, so that skewed clocks cannot move midnight.
local periods = {}

-- What the ledger calls the opening of each kind.
periods.RESETS = { hour = "HOURLY_RESET", day = "DAILY_RESET", week = "WEEKLY_RESET", month = "MONTHLY_RESET" }

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

-- The allowances of a tier: their number, then eight arguments each. Returns a list of {kind, amount, rollover, window,
-- id, ends_ms}, the last two of the period that now_ms is in (nil: see `at`), and the index of the argument after them.
function periods.allowances(argv, from, now_ms)
  local allowances, next = {}, from + 1
  for n = 1, tonumber(argv[from]) do
    local window = periods.window(argv, next + 3)
    local id, ends_ms = periods.at(window, now_ms)
    allowances[n] = {
      kind = argv[next], amount = tonumber(argv[next + 1]), rollover = tonumber(argv[next + 2]), window = window,
      id = id, ends_ms = ends_ms,
    }
    next = next + 8
  end
  return allowances, next
end

-- Whether a period may open after the one that was opened last, nil or "" for none. An account that moved west meets a
-- date again that it had already. Ids of two lengths are those of two plans, such as a calendar month and one that
-- begins on the 17th: the new plan begins with the period that is running.
function periods.is_new(last_id, id)
  return not last_id or #id ~= #last_id or id > last_id
end

-- The first instant, from_ms or later, at which a period is running that may open after the one opened last.
function periods.next_opening_ms(window, last_id, from_ms)
  if from_ms < window.ends_ms and periods.is_new(last_id, window.id) then
    return from_ms
  elseif from_ms < window.next_ends_ms and periods.is_new(last_id, window.next_id) then
    return math.max(from_ms, window.ends_ms)
  end
  return math.max(from_ms, window.next_ends_ms)
end

return periods
