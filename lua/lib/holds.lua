-- A hold: what one call took from its account's buckets until it ends as settled, released or expired.
-- How it ended stays as `done:ID`, the answer to every repeat.
local admitted = require("lib.admitted")
local keys = require("lib.keys")

local holds = {}

-- Parts as text, readable in redis-cli: "day:2026-11-20=3 credits:signup=2".
function holds.text(parts)
  local words = {}
  for i, part in ipairs(parts) do
    words[i] = string.format("%s=%.0f", part.bucket, part.amount)
  end
  return table.concat(words, " ")
end

function holds.parts(text)
  local parts = {}
  for bucket, amount in string.gmatch(text, "(%S+)=(%d+)") do
    parts[#parts + 1] = { bucket = bucket, amount = tonumber(amount) }
  end
  return parts
end

-- Adds more parts to a hold's own: one part a bucket.
function holds.merge(parts, more)
  local by_bucket = {}
  for _, part in ipairs(parts) do
    by_bucket[part.bucket] = part
  end
  for _, part in ipairs(more) do
    local held = by_bucket[part.bucket]
    if held then
      held.amount = held.amount + part.amount
    else
      parts[#parts + 1] = { bucket = part.bucket, amount = part.amount }
    end
  end
end

-- Returns the hold as a table, or nil when there is none under this id.
function holds.read(k, id)
  local v = redis.call("HMGET", keys.hold(k, id), "request", "amount", "parts", "order", "operation", "model", "route",
    "key", "price_version", "local_day", "opened_at", "on_lost", "counted", "counted_input", "counted_output", "renewal",
    "account", "rates", "slots", "first_amount", "shadow", "session")
  if not v[1] then
    return nil
  end
  return {
    request = v[1], amount = tonumber(v[2]), parts = holds.parts(v[3]), order = v[4], operation = v[5], model = v[6],
    route = v[7], key = v[8], price_version = v[9], local_day = v[10], opened_at = tonumber(v[11]), on_lost = v[12],
    -- Written by the first renewal.
    counted = tonumber(v[13] or "0"), counted_input = tonumber(v[14] or "0"), counted_output = tonumber(v[15] or "0"),
    renewal = v[16] or "",
    account = v[17],
    rates = admitted.rates(v[18] or ""), slots = v[19] or "",
    -- Holds of older gateways do not say how they began.
    first_amount = tonumber(v[20] or v[2]),
    -- Policies in shadow mode that would have denied the call, by name; nil for none.
    shadow = v[21] or nil,
    session = v[22] or nil,
  }
end

-- How the reservation ended: a table of its fields, numbers as numbers; nil when nothing is remembered.
function holds.read_done(k, id)
  local fields = redis.call("HGETALL", keys.done(k, id))
  if #fields == 0 then
    return nil
  end
  local done = {}
  for i = 1, #fields, 2 do
    done[fields[i]] = fields[i + 1]
  end
  done.rates = admitted.rates(done.rates or "")
  for _, name in ipairs({ "cost", "charged", "written_off", "left", "input", "output" }) do
    done[name] = tonumber(done[name] or "0")
  end
  return done
end

-- What stands under an id: the hold, or else how it ended, or neither. The third value is true when it is another
-- account's; then the first two are nil.
function holds.find(k, id)
  local hold = holds.read(k, id)
  local done = not hold and holds.read_done(k, id) or nil
  local found = hold or done
  if found and found.account ~= k.id then
    return nil, nil, true
  end
  return hold, done, false
end

-- Removes the hold and remembers how it ended, for `remember_ms`. fields: alternating names and values.
function holds.finish(k, id, remember_ms, fields)
  local done = keys.done(k, id)
  redis.call("DEL", keys.hold(k, id), done)
  redis.call("ZREM", k.holds, id)
  redis.call("HSET", done, "account", k.id, unpack(fields))
  redis.call("PEXPIRE", done, remember_ms)
end

return holds
