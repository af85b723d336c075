-- The generic cell rate algorithm. A state is the instant at which all that was admitted will have drained away (its
-- theoretical arrival time) and the rate it was counted at, "MS+REST@STEPS/STEP_MS": one unit of weight is `step_ms`
-- ticks, each millisecond drains `steps` of them, and REST is what is no whole millisecond; so that every number is an
-- exact integer.
-- Think of a bucket that drains at the limit's rate: it holds `room` units, and a call is admitted when it fits.
--
-- A rate is a table of where (a field of the account's hash, or the end of a key), in_hash (which of the two), steps and
-- step_ms. The rates of an account itself stand in its hash, in fields "rate:NAME": every decision reads and writes that
-- hash anyhow. All others have a key of their own, which expires when it has drained.
local account = require("lib.account")

local gcra = {}

-- Ticks that have not drained yet. state: nil or false for a bucket that is empty.
-- Counted at another rate then, it is as many units as it was, or as much time, whichever is less: who had used up a
-- limit that is raised has the difference at once, and who had used much of one that is lowered does not wait for long.
local function level_of(state, steps, step_ms, now_ms)
  if not state then
    return 0
  end
  local ms, rest, steps_then, step_ms_then = string.match(state, "^(%d+)%+(%d+)@(%d+)/(%d+)$")
  ms, rest = tonumber(ms or 0) - now_ms, tonumber(rest)
  if ms < 0 then -- Long drained, or written by hand in some other way.
    return 0
  end
  steps_then, step_ms_then = tonumber(steps_then), tonumber(step_ms_then)
  if steps_then == steps and step_ms_then == step_ms then
    return ms * steps + rest
  end
  local units = (ms * steps_then + rest) / step_ms_then
  return math.min(math.ceil(units * step_ms), ms * steps + math.ceil(rest * steps / steps_then))
end

-- The state that a level is kept as, and the millisecond in which it will have drained.
local function state_of(level, steps, step_ms, now_ms)
  local ms = math.floor(level / steps)
  local drained_ms = now_ms + ms
  return string.format("%.0f+%.0f@%.0f/%.0f", drained_ms, level - ms * steps, steps, step_ms), drained_ms
end

-- Ticks of a rate that have not drained yet. a: the account, which holds the states that stand in its hash.
function gcra.level(k, a, rate, now_ms)
  local state
  if rate.in_hash then
    state = a[rate.where]
  else
    state = redis.call("GET", k.rate .. rate.where)
  end
  return level_of(state, rate.steps, rate.step_ms, now_ms)
end

-- Keeps a level; the account must be written afterwards. Returns the millisecond in which it will have drained.
function gcra.keep(book, rate, level)
  local state, drained_ms = state_of(level, rate.steps, rate.step_ms, book.now_ms)
  if rate.in_hash then
    account.set(book.account, rate.where, state)
  else
    redis.call("SET", book.k.rate .. rate.where, state, "PXAT", drained_ms + 1 + book.skew_ms)
  end
  return drained_ms
end

return gcra
