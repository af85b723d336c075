-- An account's hash: who it is, and its running totals. granted = left + held + spent, always.
local account = {}

-- The kinds of periods that an allowance can be given for, the shortest first.
account.PERIODS = { "hour", "day", "week", "month" }

-- What goes with most decisions is written by each; what changes with a period or a grant only, when it has changed.
local TOTALS = { "spent", "held", "used_tokens", "requests" }

-- What `read` asks for. Of each kind of period that the account has had: the one that was opened last, what is left in
-- it and when it ends. The period's own key says so too, but that key is gone when it ends, and what was left in it must
-- still be written off.
local FIELDS = { "version", "tier", "zone", "status", "granted", "spent", "held", "used_tokens", "requests",
  "next_expiry" }
local FIRST_PERIOD = #FIELDS + 1
for _, kind in ipairs(account.PERIODS) do
  for _, name in ipairs({ kind, kind .. "_left", kind .. "_ends" }) do
    FIELDS[#FIELDS + 1] = name
  end
end

-- Returns the account as a table of numbers and words, or nil when it is unknown.
function account.read(key)
  local v = redis.call("HMGET", key, unpack(FIELDS))
  if not v[1] then
    return nil
  end
  local a = {
    version = tonumber(v[1]), tier = v[2], zone = v[3], status = v[4],
    granted = tonumber(v[5]), spent = tonumber(v[6]), held = tonumber(v[7]),
    used_tokens = tonumber(v[8]), requests = tonumber(v[9]),
    -- No grant lapses before this instant; 0: none will.
    next_expiry = tonumber(v[10]),
    -- The names of the fields that were set since it was read.
    changed = {},
  }
  for i = FIRST_PERIOD, #FIELDS, 3 do
    if v[i] then
      a[FIELDS[i]], a[FIELDS[i + 1]], a[FIELDS[i + 2]] = v[i], tonumber(v[i + 1]), tonumber(v[i + 2])
    end
  end
  return a
end

-- A new account, not yet written. Its sign-up grant is given by the caller.
function account.fresh(tier, zone)
  return {
    version = 1, tier = tier, zone = zone, status = "active", granted = 0, spent = 0, held = 0,
    used_tokens = 0, requests = 0, next_expiry = 0, is_new = true, changed = { granted = true, next_expiry = true },
  }
end

-- Changes what `write` does not write anyway.
function account.set(a, name, value)
  a[name] = value
  a.changed[name] = true
end

-- Writes the totals and what was set beside them, and for a new account who it is.
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
  for name in pairs(a.changed) do
    fields[#fields + 1] = name
    fields[#fields + 1] = a[name]
  end
  redis.call("HSET", key, unpack(fields))
end

-- All that the account may still hold, over all its buckets; see `buckets.book` for what has lapsed.
function account.left(a)
  return a.granted - a.spent - a.held
end

return account
