-- An account, its buckets and its open holds, as they stand: for those who compare them with the ledger.
local account = require("lib.account")
local holds = require("lib.holds")
local keys = require("lib.keys")

local snapshot = {}

-- What changes with calls that change no balance, or says nothing about it.
local VOLATILE = { last_seen = true, override = true, anchor = true }

local function is_told(name)
  return not VOLATILE[name] and string.sub(name, 1, 5) ~= "rate:" and string.sub(name, 1, 5) ~= "noted"
end

-- Alternating names and values as one text, whatever order the server keeps them in.
local function text_of(flat)
  local lines = {}
  for i = 1, #flat, 2 do
    if is_told(flat[i]) then
      lines[#lines + 1] = flat[i] .. "=" .. flat[i + 1]
    end
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

-- Appends a hold to `found`, when it is this account's: its id, the end of its lease ("" without one), its fields.
-- Returns what its parts hold.
local function add_hold(k, found, id)
  local sum = 0
  local fields = redis.call("HGETALL", keys.hold(k, id))
  for i = 1, #fields, 2 do
    if fields[i] == "account" and fields[i + 1] ~= k.id then
      return 0
    elseif fields[i] == "parts" then
      for _, part in ipairs(holds.parts(fields[i + 1])) do
        sum = sum + part.amount
      end
    end
  end
  if #fields > 0 then
    found[#found + 1] = { id, redis.call("ZSCORE", k.holds, id) or "", fields }
  end
  return sum
end

-- Its open holds: those that the caller knows of, and, when these are not all that it holds, those that a look at all
-- holds of the partition finds.
local function holds_of(k, known, held)
  local found, seen, sum = {}, {}, 0
  for _, id in ipairs(known) do
    seen[id] = true
    sum = sum + add_hold(k, found, id)
  end
  if sum ~= held then
    for _, id in ipairs(redis.call("ZRANGE", k.holds, 0, -1)) do
      if not seen[id] and redis.call("HGET", keys.hold(k, id), "account") == k.id then
        add_hold(k, found, id)
      end
    end
  end
  table.sort(found, function(one, other)
    return one[1] < other[1]
  end)
  return found
end

-- known_holds: ids of holds that may be the account's.
-- Returns a table of account, periods, credits, order, grants, holds, and its stamp: a text that is another one as soon
-- as a balance has moved; "absent" when there is no such account.
function snapshot.take(k, known_holds)
  local fields = redis.call("HGETALL", k.account)
  local a = {}
  for i = 1, #fields, 2 do
    a[fields[i]] = fields[i + 1]
  end
  local taken = {
    account = fields, periods = {}, credits = redis.call("HGETALL", k.credits),
    order = redis.call("ZRANGE", k.order, 0, -1, "WITHSCORES"), grants = redis.call("HGETALL", k.grants),
    holds = holds_of(k, known_holds, tonumber(a.held or "0")),
  }
  local texts = { text_of(fields), text_of(taken.credits), table.concat(taken.order, " "), text_of(taken.grants) }
  for _, kind in ipairs(account.PERIODS) do
    if a[kind] then
      local period = redis.call("HGETALL", keys.period(k, kind, a[kind]))
      taken.periods[#taken.periods + 1] = kind
      taken.periods[#taken.periods + 1] = period
      texts[#texts + 1] = text_of(period)
    end
  end
  for _, hold in ipairs(taken.holds) do
    texts[#texts + 1] = hold[1] .. " " .. text_of(hold[3])
  end
  return taken, #fields == 0 and "absent" or redis.sha1hex(table.concat(texts, "\n\n"))
end

return snapshot
