-- One decision, one clock: the server's own, or the instant that a test passed instead of it.
local clock = {}

-- given: "" for the server's clock, else milliseconds since 1970.
-- Returns now_ms, and skew_ms: what must be added to an instant of this clock to name it in the server's.
function clock.read(given)
  local time = redis.call("TIME")
  local server_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  if given == "" then
    return server_ms, 0
  end
  local now_ms = tonumber(given)
  return now_ms, server_ms - now_ms
end

return clock
