-- The names of an account's keys, all derived from the one that is declared in KEYS[1].
-- They share the partition tag, so they lie in one slot of a Redis Cluster. README.md says what each holds.
local keys = {}

-- account_key: "qg:{p00}:account:ID"
function keys.of(account_key)
  local prefix, id = string.match(account_key, "^(qg:{p%d+}:)account:(.*)$")
  return {
    prefix = prefix,
    id = id,
    account = account_key,
    credits = prefix .. "credits:" .. id,
    order = prefix .. "credits-order:" .. id,
    grants = prefix .. "grants:" .. id,
    -- Followed by SUBJECT:POLICY: whom a policy counts, and its name.
    rate = prefix .. "rate:",
    slots = prefix .. "slots:",
    holds = prefix .. "holds",
    events = prefix .. "events",
  }
end

-- The key of a period bucket: kind "hour", "day", "week" or "month", period such as "2026-11-20" or "2026-W47".
function keys.period(k, kind, period)
  return k.prefix .. kind .. ":" .. k.id .. ":" .. period
end

function keys.hold(k, id)
  return k.prefix .. "hold:" .. id
end

function keys.done(k, id)
  return k.prefix .. "done:" .. id
end

-- hash: of an Idempotency-Key.
function keys.idempotent(k, hash)
  return k.prefix .. "idempotent:" .. k.id .. ":" .. hash
end

return keys
