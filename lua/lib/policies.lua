-- Rate and concurrency policies. A rate is the generic cell rate algorithm: its state is the instant at which all that
-- was admitted will have drained away, the theoretical arrival time, kept as "MS+REST/STEPS". One unit of weight is
-- `step_ms` ticks, and each millisecond drains `steps` of them, so that every number is an exact integer.
-- Think of a bucket that drains at the limit's rate: it holds `room` units, and a call is admitted when it fits.
local policies = {}

-- How many arguments tell one policy.
local WORDS = 7
-- What an account's concurrent calls are told to wait when no slot is free: nobody knows when a call will end.
local SLOT_WAIT_MS = 1000
-- A level beyond it could not be counted exactly. It takes years to drain, so nothing is lost by stopping there.
local EXACT = 2 ^ 50

local function divide(a, b)
  local whole = math.floor(a / b)
  return whole, a - whole * b
end

-- Whom a policy counts: "account:ada", or "account:ada,model:m1" for by = "account model". nil when the call has no
-- such thing, a team for instance: the policy is not about it.
local function subject_of(by, who)
  local words = {}
  for dimension in string.gmatch(by, "%a+") do
    if (who[dimension] or "") == "" then
      return nil
    end
    words[#words + 1] = dimension .. ":" .. string.gsub(who[dimension], "%c", "?")
  end
  return table.concat(words, ",")
end

-- What an override of the account makes of its policies: more or less of everything, for a while.
-- override: "NUM/DEN until MS", "" for none. Returns num, den.
local function factor(override, now_ms)
  if not override or override == "" then
    return 1, 1
  end
  local num, den, until_ms = string.match(override, "^(%d+)/(%d+) until (%d+)$")
  if not num or now_ms >= tonumber(until_ms) then
    return 1, 1
  end
  return tonumber(num), tonumber(den)
end

-- The policies that a caller passes from argv[from] on: their number, then for each
--   name, measure, mode, by, steps, step_ms, room
-- who: what each dimension of `by` stands for in this call. Returns those that are about this call; `place` is the
-- policy's place in the caller's list.
function policies.read(argv, from, k, who, override, now_ms)
  local found, count = {}, tonumber(argv[from])
  local num, den = factor(override, now_ms)
  for place = 1, count do
    local at = from + 1 + (place - 1) * WORDS
    local by = argv[at + 3]
    local subject = by == "account" and "account:" .. k.id or subject_of(by, who)
    if subject then
      local policy = {
        place = place, name = argv[at], measure = argv[at + 1], mode = argv[at + 2], subject = subject,
        steps = tonumber(argv[at + 4]), step_ms = tonumber(argv[at + 5]), room = tonumber(argv[at + 6]),
      }
      if num ~= den and (string.find(by, "account", 1, true) or string.find(by, "key", 1, true)) then
        policy.steps, policy.step_ms = policy.steps * num, policy.step_ms * den
        policy.room = math.max(1, math.floor(policy.room * num / den))
      end
      policy.suffix = subject .. ":" .. policy.name
      found[#found + 1] = policy
    end
  end
  return found, count
end

-- Ticks that have not drained yet.
local function level_of(policy, state, now_ms)
  if not state then
    return 0
  end
  local ms, rest, steps = string.match(state, "^(%d+)%+(%d+)/(%d+)$")
  if not ms or tonumber(ms) < now_ms then
    return 0
  end
  rest = tonumber(rest)
  if tonumber(steps) ~= policy.steps then -- The limit was another one then.
    rest = math.ceil(rest * policy.steps / tonumber(steps))
  end
  return (tonumber(ms) - now_ms) * policy.steps + rest
end

-- Writes a level; returns when it will have drained.
local function set_level(k, suffix, steps, level, now_ms, skew_ms)
  local ms, rest = divide(level, steps)
  ms = now_ms + ms
  redis.call("SET", k.rate .. suffix, string.format("%.0f+%.0f/%.0f", ms, rest, steps),
    "PXAT", string.format("%.0f", ms + 1 + skew_ms))
  return ms
end

local function weight_of(measure, weights)
  if measure == "tokens" then
    return weights.input + weights.output
  end
  return weights[measure]
end

-- Looks at every policy, and writes nothing. weights: {input, output, cost, requests, concurrent} of the call.
-- Sets on each: fits, wait_ms (until this very call fits, -1: never), remaining (units that fit after this call), and
-- reset_ms (until all has drained).
function policies.look(k, found, weights, now_ms)
  local names = {}
  for _, policy in ipairs(found) do
    if policy.measure ~= "concurrent" then
      names[#names + 1] = k.rate .. policy.suffix
    end
  end
  local states = #names > 0 and redis.call("MGET", unpack(names)) or {}
  local n = 0
  for _, policy in ipairs(found) do
    if policy.measure == "concurrent" then
      local key = k.slots .. policy.suffix
      local open = redis.call("ZCOUNT", key, string.format("(%.0f", now_ms), "+inf")
      policy.fits = open + weights.concurrent <= policy.room
      policy.wait_ms = policy.fits and 0 or SLOT_WAIT_MS
      policy.remaining = math.max(0, policy.room - open - (policy.fits and weights.concurrent or 0))
      policy.reset_ms = 0
    else
      n = n + 1
      local level = level_of(policy, states[n], now_ms)
      policy.weight = weight_of(policy.measure, weights)
      local room = policy.room * policy.step_ms
      -- Compared as units first: the weight of a call has no bound, and its ticks might not be exact.
      if policy.weight > policy.room then
        policy.fits, policy.wait_ms = policy.weight == 0, -1
      else
        local after = level + policy.weight * policy.step_ms
        -- What weighs nothing fits into a bucket that runs over.
        policy.fits = after <= room or policy.weight == 0
        policy.wait_ms = policy.fits and 0 or math.ceil((after - room) / policy.steps)
        level = policy.fits and after or level
      end
      policy.level = level
      policy.remaining = math.max(0, math.floor((room - level) / policy.step_ms))
      policy.reset_ms = math.ceil(level / policy.steps)
    end
  end
end

-- The policies that deny the call, and the tightest of them: the one that makes it wait longest.
function policies.violated(found)
  local names, tightest = {}, nil
  for _, policy in ipairs(found) do
    if not policy.fits and policy.mode == "enforce" then
      names[#names + 1] = policy.name
      if not tightest or (tightest.wait_ms >= 0 and (policy.wait_ms < 0 or policy.wait_ms > tightest.wait_ms)) then
        tightest = policy
      end
    end
  end
  return names, tightest
end

-- Admits a call to every policy it fits; one in shadow mode that it does not fit is left as it is.
-- Returns what the hold must remember, as two texts: the rates to correct when its true usage is known, one a line,
-- "MEASURE WEIGHT STEPS/STEP_MS DRAINED_AT SUFFIX", and the slots it takes, one a line. Names stand last: they may
-- hold spaces.
function policies.admit(k, found, id, lease_until_ms, now_ms, skew_ms)
  local rates, slots = {}, {}
  for _, policy in ipairs(found) do
    if policy.fits and policy.measure == "concurrent" then
      local key = k.slots .. policy.suffix
      redis.call("ZREMRANGEBYSCORE", key, "-inf", string.format("%.0f", now_ms))
      redis.call("ZADD", key, string.format("%.0f", lease_until_ms), id)
      slots[#slots + 1] = policy.suffix
    elseif policy.fits then
      local drained_ms = now_ms
      if policy.weight > 0 then
        drained_ms = set_level(k, policy.suffix, policy.steps, policy.level, now_ms, skew_ms)
      end
      if policy.measure ~= "requests" then
        rates[#rates + 1] = string.format("%s %.0f %.0f/%.0f %.0f %s", policy.measure, policy.weight, policy.steps,
          policy.step_ms, drained_ms, policy.suffix)
      end
    end
  end
  return table.concat(rates, "\n"), table.concat(slots, "\n")
end

-- What of the level the caller can be told: for each policy of the caller's list remaining, reset_ms, room and whether
-- it denies (0 | 1). A policy that is not about the call has -1 for its room.
function policies.states(found, count)
  local flat = {}
  for place = 1, count * 4 do
    flat[place] = place % 4 == 3 and -1 or 0
  end
  for _, policy in ipairs(found) do
    local at = (policy.place - 1) * 4
    flat[at + 1], flat[at + 2], flat[at + 3] = policy.remaining, policy.reset_ms, policy.room
    flat[at + 4] = policy.fits and 0 or 1
  end
  return flat
end

-- Puts what a call truly used in place of what it was admitted with. weights: {input, output, cost} of the answer.
-- Less: what of its estimate has not drained yet is given back. Weights drain in the order in which they came, so that
-- is what lies between now and the instant at which this one will have drained; whatever drained is gone, and nobody
-- else's weight is given back in its place. More: the excess is added, and those who come later wait for it.
-- Returns the text with the new weights.
function policies.correct(k, rates, weights, now_ms, skew_ms)
  local lines = {}
  for line in string.gmatch(rates or "", "[^\n]+") do
    local measure, weight, steps, step_ms, drained_ms, suffix =
      string.match(line, "^(%a+) (%d+) (%d+)/(%d+) (%d+) (.*)$")
    weight, steps, step_ms, drained_ms = tonumber(weight), tonumber(steps), tonumber(step_ms), tonumber(drained_ms)
    local actual = weight_of(measure, weights)
    if actual ~= weight then
      local policy = { steps = steps }
      local level = level_of(policy, redis.call("GET", k.rate .. suffix), now_ms)
      if actual < weight then
        local undrained = math.max(0, math.min(weight * step_ms, (drained_ms - now_ms) * steps))
        level = math.max(0, level - math.min((weight - actual) * step_ms, undrained))
      else
        level = level + math.min(actual - weight, math.floor(EXACT / step_ms)) * step_ms
        level = math.min(level, EXACT)
      end
      set_level(k, suffix, steps, level, now_ms, skew_ms)
    end
    lines[#lines + 1] = string.format("%s %.0f %.0f/%.0f %.0f %s", measure, actual, steps, step_ms, drained_ms, suffix)
  end
  return table.concat(lines, "\n")
end

-- A longer lease holds its slots longer.
function policies.keep_slots(k, slots, id, lease_until_ms)
  for suffix in string.gmatch(slots, "[^\n]+") do
    redis.call("ZADD", k.slots .. suffix, "XX", string.format("%.0f", lease_until_ms), id)
  end
end

function policies.free_slots(k, slots, id)
  for suffix in string.gmatch(slots, "[^\n]+") do
    redis.call("ZREM", k.slots .. suffix, id)
  end
end

return policies
