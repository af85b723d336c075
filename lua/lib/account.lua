-- An account's hash: who it is, and its running totals. granted = left + held + spent, always.
local account = {}

-- What goes with most decisions, and what changes with a period or a grant only: written when it has changed.
local TOTALS = { "spent", "held", "used_tokens", "requests" }
local TERMS = { "granted", "day", "day_left", "day_ends", "month", "month_left", "month_ends", "next_expiry" }

-- rate_fields: the fields that hold states of its policies (lib/policies.lua), nil for none.
-- Returns the account as a table of numbers and words, or nil when it is unknown.
function account.read(key, rate_fields)
  local v = redis.call("HMGET", key, "version", "tier", "zone", "status", "granted", "spent", "held",
    "used_tokens", "requests", "day", "day_left", "day_ends", "month", "month_left", "month_ends", "next_expiry", "override",
    unpack(rate_fields or {}))
  if not v[1] then
    return nil
  end
  local a = {
    version = tonumber(v[1]), tier = v[2], zone = v[3], status = v[4],
    granted = tonumber(v[5]), spent = tonumber(v[6]), held = tonumber(v[7]),
    used_tokens = tonumber(v[8]), requests = tonumber(v[9]),
    -- The day and the month that were opened last, what is left in them and when they end. The bucket's own key says
    -- so too, but that key is gone when its period ends, and what was left in it must still be written off.
    day = v[10], day_left = tonumber(v[11]), day_ends = tonumber(v[12]),
    month = v[13], month_left = tonumber(v[14]), month_ends = tonumber(v[15]),
    -- No grant lapses before this instant; 0: none will.
    next_expiry = tonumber(v[16]),
    -- More or less of its rate and concurrency limits, for a while: "2/1 until MS".
    override = v[17] or nil,
    -- States of its policies, by field, and those that are new.
    rates = {}, new_rates = {},
    -- As it was read: what has not changed since is not written again.
    was = {},
  }
  for i, name in ipairs(TERMS) do
    a.was[i] = a[name]
  end
  for i, field in ipairs(rate_fields or {}) do
    a.rates[field] = v[17 + i] or nil
  end
  return a
end

-- A new account, not yet written. Its sign-up grant is given by the caller.
function account.fresh(tier, zone)
  return {
    version = 1, tier = tier, zone = zone, status = "active", granted = 0, spent = 0, held = 0,
    used_tokens = 0, requests = 0, day = "", day_left = 0, day_ends = 0, month = "", month_left = 0, month_ends = 0,
    next_expiry = 0, is_new = true, rates = {}, new_rates = {}, was = {},
  }
end

-- Writes the totals and what has changed beside them, and for a new account who it is.
function account.write(key, a, now_ms)
  if a.is_new then
    redis.call("HSET", key, "version", a.version, "tier", a.tier, "zone", a.zone, "status", a.status,
      "first_seen", now_ms)
  end
  local fields = { "last_seen", now_ms }
  for _, name in ipairs(TOTALS) do
    fields[#fields + 1] = name
    fields[#fields + 1] = a[name]
  end
  for i, name in ipairs(TERMS) do
    if a[name] ~= a.was[i] then
      fields[#fields + 1] = name
      fields[#fields + 1] = a[name]
    end
  end
  for field, state in pairs(a.new_rates) do
    fields[#fields + 1] = field
    fields[#fields + 1] = state
  end
  redis.call("HSET", key, unpack(fields))
end

-- All that the account may still hold, over all its buckets; see `buckets.book` for what has lapsed.
function account.left(a)
  return a.granted - a.spent - a.held
end

return account
