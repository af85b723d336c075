-- What a hold remembers of the policies that admitted it, and what becomes of that when its call ends.
--   rates   one a line, "MEASURE WEIGHT STEPS/STEP_MS DRAINED_AT WHERE": what it was counted with, where a true count
--           is known at its end; WHERE is the field "rate:NAME" of the account's hash, or the end of a key
--   slots   one a line: the ends of the keys of the concurrency policies that it has a slot of
-- Names stand last: they may hold spaces.
local gcra = require("lib.gcra")

local admitted = {}

-- A level beyond it could not be counted exactly. It takes years to drain, so nothing is lost by stopping there.
local EXACT = 2 ^ 50

-- Reads a hold's rates.
function admitted.rates(text)
  local rates = {}
  for line in string.gmatch(text, "[^\n]+") do
    local measure, weight, steps, step_ms, drained_ms, where =
      string.match(line, "^(%a+) (%d+) (%d+)/(%d+) (%d+) (.*)$")
    rates[#rates + 1] = {
      measure = measure, weight = tonumber(weight), steps = tonumber(steps), step_ms = tonumber(step_ms),
      drained_ms = tonumber(drained_ms), where = where, in_hash = string.sub(where, 1, 5) == "rate:",
    }
  end
  return rates
end

function admitted.text(rates)
  local lines = {}
  for i, rate in ipairs(rates) do
    lines[i] = string.format("%s %.0f %.0f/%.0f %.0f %s", rate.measure, rate.weight, rate.steps, rate.step_ms,
      rate.drained_ms, rate.where)
  end
  return table.concat(lines, "\n")
end

-- The fields of the account's hash that hold states of these rates.
function admitted.fields(rates)
  local fields = {}
  for _, rate in ipairs(rates) do
    if rate.in_hash then
      fields[#fields + 1] = rate.where
    end
  end
  return fields
end

-- Puts what a call truly used in place of what it was admitted with. weights: by measure.
-- Less: what of its estimate has not drained yet is given back. Weights drain in the order in which they came, so that
-- is what lies between now and the instant at which this one will have drained; whatever drained is gone, and nobody
-- else's weight is given back in its place. More: the excess is added, and those who come later wait for it.
-- The account must be written afterwards.
function admitted.correct(book, rates, weights)
  local now_ms = book.now_ms
  for _, rate in ipairs(rates) do
    local actual, step_ms = weights[rate.measure], rate.step_ms
    if actual ~= rate.weight then
      local level = gcra.level(book.k, book.account, rate, now_ms)
      if actual < rate.weight then
        local undrained = math.max(0, math.min(rate.weight * step_ms, (rate.drained_ms - now_ms) * rate.steps))
        level = math.max(0, level - math.min((rate.weight - actual) * step_ms, undrained))
      else
        level = math.min(EXACT, level + math.min(actual - rate.weight, math.floor(EXACT / step_ms)) * step_ms)
      end
      gcra.keep(book, rate, level)
      rate.weight = actual
    end
  end
end

-- A longer lease holds its slots longer.
function admitted.keep_slots(k, slots, id, lease_until_ms)
  for where in string.gmatch(slots, "[^\n]+") do
    redis.call("ZADD", k.slots .. where, "XX", lease_until_ms, id)
  end
end

function admitted.free_slots(k, slots, id)
  for where in string.gmatch(slots, "[^\n]+") do
    redis.call("ZREM", k.slots .. where, id)
  end
end

return admitted
