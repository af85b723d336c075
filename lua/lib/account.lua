-- An account's hash: who it is, and its running totals. granted = left + held + spent, always.
local changes = require("lib.changes")
local ledger = require("lib.ledger")

local account = {}

-- The kinds of periods that an allowance can be given for, the shortest first.
account.PERIODS = { "hour", "day", "week", "month" }

-- What goes with most decisions is written by each; what changes with a period or a grant only, when it has changed.
-- Twice so long, at the least, is what a forecast looks back on.
local HOUR_MS = 3600000

local TOTALS = { "spent", "held", "used_tokens", "requests" }

-- rate_fields: the fields that hold states of its policies (lib/policies.lua); nil for none.
-- Returns the account as a table of numbers and words, or nil when it is unknown.
function account.read(key, rate_fields)
  local v = redis.call("HMGET", key, "version", "tier", "zone", "status", "granted", "spent", "held", "used_tokens",
    "requests", "next_expiry", "day", "day_left", "day_ends", "month", "month_left", "month_ends", "hour", "week",
    "override", "noted_at", "tier_ends", unpack(rate_fields or {}))
  if not v[1] then
    return nil
  end
  local a = {
    version = tonumber(v[1]), tier = v[2], zone = v[3], status = v[4],
    granted = tonumber(v[5]), spent = tonumber(v[6]), held = tonumber(v[7]),
    used_tokens = tonumber(v[8]), requests = tonumber(v[9]),
    -- No grant lapses before this instant; 0: none will.
    next_expiry = tonumber(v[10]),
    -- The period of each kind that was opened last, what is left in it and when it ends; nil where there was none. The
    -- period's own key says so too, but that key is gone when it ends, and what was left must still be written off.
    day = v[11] or nil, day_left = tonumber(v[12]), day_ends = tonumber(v[13]),
    month = v[14] or nil, month_left = tonumber(v[15]), month_ends = tonumber(v[16]),
    hour = v[17] or nil, week = v[18] or nil,
    -- More or less of its rate and concurrency limits, for a while: "2/1 until MS".
    override = v[19] or nil,
    -- What is spent is noted about every hour, for forecasts: see `write`.
    noted_at = tonumber(v[20] or "0"),
    -- Until when it is on this tier; nil: for good.
    tier_ends = tonumber(v[21]),
    -- The names of the fields that were set since it was read.
    changed = {},
  }
  if a.hour or a.week then
    -- Few accounts have these, and each field that is missing costs the others time.
    local rest = redis.call("HMGET", key, "hour_left", "hour_ends", "week_left", "week_ends")
    a.hour_left, a.hour_ends = tonumber(rest[1]), tonumber(rest[2])
    a.week_left, a.week_ends = tonumber(rest[3]), tonumber(rest[4])
  end
  for i, field in ipairs(rate_fields or {}) do
    a[field] = v[21 + i] or nil
  end
  return a
end

-- A new account, not yet written. Its sign-up grant is given by the caller.
function account.fresh(tier, zone)
  return {
    version = 1, tier = tier, zone = zone, status = "active", granted = 0, spent = 0, held = 0,
    used_tokens = 0, requests = 0, next_expiry = 0, noted_at = 0, is_new = true, changed = { granted = true, next_expiry = true },
  }
end

-- An account that is opened now, not yet written. nil while the partition has no epoch: Redis was emptied, perhaps, and
-- whoever is unknown to it may be known to the ledger, with a balance. `quotagate restore` brings it back.
function account.open(k, tier, zone)
  local epoch = redis.call("GET", k.prefix .. "epoch")
  if not epoch or string.sub(epoch, 1, 10) == "restoring " then
    return nil
  end
  return account.fresh(tier, zone)
end

-- Puts an account that is known on a tier and in a zone, and tells the ledger.
function account.move(k, a, tier, zone, now_ms)
  a.version, a.tier, a.zone = a.version + 1, tier, zone
  redis.call("HSET", k.account, "tier", tier, "zone", zone, "version", a.version)
  changes.note(k)
  ledger.append({ k = k, now_ms = now_ms, entries = {} }, "moved",
    string.format("moved:%s:%.0f@%.0f", k.id, a.version, now_ms), { "tier", tier, "zone", zone })
end

-- Says until when it is on its tier, and where it goes then; 0: for good.
function account.set_end(k, a, ends_ms, after)
  if ends_ms > 0 then
    redis.call("HSET", k.account, "tier_ends", ends_ms, "tier_after", after)
    a.tier_ends = ends_ms
  elseif a.tier_ends then
    redis.call("HDEL", k.account, "tier_ends", "tier_after")
    a.tier_ends = nil
  end
end

-- Moves an account whose tier has ended to the one after it, whoever comes first: nothing else has to be on time.
-- Returns whether it did.
function account.end_tier(k, a, now_ms)
  if not a.tier_ends or now_ms < a.tier_ends then
    return false
  end
  account.move(k, a, redis.call("HGET", k.account, "tier_after"), a.zone, now_ms)
  account.set_end(k, a, 0, "")
  return true
end

-- Changes what `write` does not write anyway.
function account.set(a, name, value)
  a[name] = value
  a.changed[name] = true
end

-- Notes what had been spent an hour ago and more: the note of the last hour, and of the one before.
local function note_hour(key, a, now_ms)
  local noted = redis.call("HMGET", key, "noted_at", "noted_spent")
  redis.call("HSET", key, "noted_at", now_ms, "noted_spent", a.spent,
    "noted_before_at", noted[1] or now_ms, "noted_before_spent", noted[2] or a.spent)
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
  if now_ms - a.noted_at >= HOUR_MS then
    note_hour(key, a, now_ms)
  end
end

-- All that the account may still hold, over all its buckets; see `buckets.book` for what has lapsed.
function account.left(a)
  return a.granted - a.spent - a.held
end

return account
