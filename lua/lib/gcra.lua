-- The generic cell rate algorithm. A state is the instant at which all that was admitted will have drained away (its
-- theoretical arrival time), as "MS", or "MS+REST/STEPS" where that is no whole millisecond. One unit of weight is
-- `step_ms` ticks, and each millisecond drains `steps` of them, so that every number is an exact integer.
-- Think of a bucket that drains at the limit's rate: it holds `room` units, and a call is admitted when it fits.
local gcra = {}

-- Ticks that have not drained yet. state: nil or false for a bucket that is empty.
function gcra.level(state, steps, now_ms)
  if not state then
    return 0
  end
  local ms, rest = tonumber(state), 0
  if not ms then
    local text, rest_text, steps_then = string.match(state, "^(%d+)%+(%d+)/(%d+)$")
    ms, rest = tonumber(text), tonumber(rest_text)
    if tonumber(steps_then) ~= steps then -- The limit was another one then.
      rest = math.ceil(rest * steps / tonumber(steps_then))
    end
  end
  return ms < now_ms and 0 or (ms - now_ms) * steps + rest
end

-- The state that a level is kept as, and the millisecond in which it will have drained.
function gcra.state(level, steps, now_ms)
  local ms = math.floor(level / steps)
  local rest = level - ms * steps
  ms = now_ms + ms
  if rest == 0 then
    return string.format("%.0f", ms), ms
  end
  return string.format("%.0f+%.0f/%.0f", ms, rest, steps), ms
end

return gcra
