-- The generic cell rate algorithm. A state is the instant at which all that was admitted will have drained away (its
-- theoretical arrival time) and the rate it was counted at, "MS+REST@STEPS/STEP_MS": one unit of weight is `step_ms`
-- ticks, each millisecond drains `steps` of them, and REST is what is no whole millisecond; so that every number is an
-- exact integer.
-- Think of a bucket that drains at the limit's rate: it holds `room` units, and a call is admitted when it fits.
local gcra = {}

-- Ticks that have not drained yet. state: nil or false for a bucket that is empty.
-- Counted at another rate then, it is as many units as it was, or as much time, whichever is less: who had used up a
-- limit that is raised has the difference at once, and who had used much of one that is lowered does not wait for long.
function gcra.level(state, steps, step_ms, now_ms)
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
function gcra.state(level, steps, step_ms, now_ms)
  local ms = math.floor(level / steps)
  local drained_ms = now_ms + ms
  return string.format("%.0f+%.0f@%.0f/%.0f", drained_ms, level - ms * steps, steps, step_ms), drained_ms
end

return gcra
