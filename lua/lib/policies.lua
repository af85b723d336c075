-- Rate and concurrency policies of one decision: which there are, whether the call fits, and that it was admitted.
-- What becomes of them when the call ends: lib/admitted.lua.
local admitted = require("lib.admitted")
local gcra = require("lib.gcra")

local policies = {}

-- How many arguments tell one policy.
local WORDS = 7
-- What a call is told to wait when no slot is free: nobody knows when another will end.
local SLOT_WAIT_MS = 1000

-- The fields of the account's hash that hold states of the policies told from argv[from] on.
function policies.fields(argv, from)
  local fields = {}
  for at = from + 1, from + tonumber(argv[from]) * WORDS, WORDS do
    if argv[at + 3] == "account" and argv[at + 1] ~= "concurrent" then
      fields[#fields + 1] = "rate:" .. argv[at]
    end
  end
  return fields
end

-- Whom a policy counts: "team:red", or "account:ada,model:m1" for by = "account model". nil when the call has no such
-- thing, a team for instance: the policy is not about it.
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
-- override: "NUM/DEN until MS". Returns num, den.
local function factor(override, now_ms)
  local num, den, until_ms = string.match(override, "^(%d+)/(%d+) until (%d+)$")
  if not num or now_ms >= tonumber(until_ms) then
    return 1, 1
  end
  return tonumber(num), tonumber(den)
end

-- The policies that a caller tells from argv[from] on: their number, then for each
--   name, measure, mode, by, steps, step_ms, room
-- who: what each dimension of `by` stands for in this call. Returns those that are about this call; `place` is the
-- policy's place in the caller's list, `where` the field or the end of the key that holds its state.
function policies.read(argv, from, who, override, now_ms)
  local found = {}
  local num, den = 1, 1
  if override then
    num, den = factor(override, now_ms)
  end
  for place = 1, tonumber(argv[from]) do
    local at = from + 1 + (place - 1) * WORDS
    local name, measure, by = argv[at], argv[at + 1], argv[at + 3]
    local in_hash = by == "account" and measure ~= "concurrent"
    local subject = in_hash or subject_of(by, who)
    if subject then
      local steps, step_ms, room = tonumber(argv[at + 4]), tonumber(argv[at + 5]), tonumber(argv[at + 6])
      if num ~= den and (string.find(by, "account", 1, true) or string.find(by, "key", 1, true)) then
        steps, step_ms, room = steps * num, step_ms * den, math.max(1, math.floor(room * num / den))
      end
      found[#found + 1] = {
        place = place, name = name, measure = measure, mode = argv[at + 2], in_hash = in_hash,
        where = in_hash and "rate:" .. name or subject .. ":" .. name, steps = steps, step_ms = step_ms, room = room,
        -- Found out by `look`.
        fits = false, wait_ms = 0, weight = 0, level = 0, remaining = 0, reset_ms = 0,
      }
    end
  end
  return found
end

local function look_at_slots(key, policy, weight, now_ms)
  local open = redis.call("ZCARD", key)
  if open >= policy.room then -- Of calls whose gateway fell silent some may still be listed.
    open = redis.call("ZCOUNT", key, string.format("(%.0f", now_ms), "+inf")
  end
  policy.fits = open + weight <= policy.room
  policy.wait_ms = policy.fits and 0 or SLOT_WAIT_MS
  policy.remaining = math.max(0, policy.room - open - (policy.fits and weight or 0))
end

local function look_at_rate(level, policy, weight)
  local steps, step_ms = policy.steps, policy.step_ms
  local full = policy.room * step_ms
  policy.weight = weight
  -- Compared as units first: the weight of a call has no bound, and its ticks might not be exact.
  if weight > policy.room then
    policy.wait_ms = -1
  else
    local after = level + weight * step_ms
    -- What weighs nothing fits into a bucket that runs over.
    if after <= full or weight == 0 then
      policy.fits, level = true, after
    else
      policy.wait_ms = math.ceil((after - full) / steps)
    end
  end
  policy.level = level
  policy.remaining = math.max(0, math.floor((full - level) / step_ms))
  policy.reset_ms = math.ceil(level / steps)
end

-- Looks at every policy, and writes nothing. weights: by measure, what the call weighs; a: the account, which
-- holds the states that stand in its hash.
-- Sets on each: fits, wait_ms (until this very call fits, -1: never), remaining (units that fit after this call), and
-- reset_ms (until all has drained).
function policies.look(k, found, weights, a, now_ms)
  for _, policy in ipairs(found) do
    local weight = weights[policy.measure]
    if policy.measure == "concurrent" then
      look_at_slots(k.slots .. policy.where, policy, weight, now_ms)
    else
      look_at_rate(gcra.level(k, a, policy, now_ms), policy, weight)
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
-- Returns what the hold remembers of it, two texts for lib/admitted.lua, and the names of those in shadow mode that
-- would have denied it.
function policies.admit(book, found, id, lease_until_ms)
  local rates, slots, shadow = {}, {}, {}
  for _, policy in ipairs(found) do
    if policy.fits and policy.measure == "concurrent" then
      local key = book.k.slots .. policy.where
      if policy.remaining == 0 then
        redis.call("ZREMRANGEBYSCORE", key, "-inf", book.now_ms)
      end
      redis.call("ZADD", key, lease_until_ms, id)
      slots[#slots + 1] = policy.where
    elseif policy.fits then
      policy.drained_ms = policy.weight > 0 and gcra.keep(book, policy, policy.level) or book.now_ms
      if policy.measure ~= "requests" then
        rates[#rates + 1] = policy
      end
    else
      shadow[#shadow + 1] = policy.name
    end
  end
  return admitted.text(rates), table.concat(slots, "\n"), table.concat(shadow, " ")
end

-- How the policies stand, for the caller: for each in its own order remaining, reset_ms, room and whether it denies
-- (0 | 1). One that is not about the call has -1 for its room.
function policies.states(found, count)
  local flat, next_one = {}, 1
  for place = 1, count do
    local policy, at = found[next_one], place * 4 - 3
    if policy and policy.place == place then
      flat[at], flat[at + 1], flat[at + 2] = policy.remaining, policy.reset_ms, policy.room
      flat[at + 3] = policy.fits and 0 or 1
      next_one = next_one + 1
    else
      flat[at], flat[at + 1], flat[at + 2], flat[at + 3] = 0, 0, -1, 0
    end
  end
  return flat
end

return policies
