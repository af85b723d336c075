-- restore: writes an account as the ledger knows it: one that Redis does not know, or one that still stands as it was
-- inspected. What the ledger has to hear with it is written in the same breath.
--
-- KEYS  1 account
-- ARGV  1 id   this call's own, made before the first send    2 now_ms ("" for the server's clock)
--       3 stamp   of the inspection; "absent": only when there is no such account
--       4.. holds, 1 words each: hold           as they were told to `inspect`
--       5.. fields, 2 words each: name value    of the account's hash; those that are not named stay
--       6.. periods, 6 words each: kind period amount left held ends_ms
--       7.. credits, 5 words each: grant left priority expires_s granted_at_ms     all of them; others go
--       8.. grants, 2 words each: grant record  to be written; others stay
--       9.. ended, 1 words each: hold           holds to be removed, nothing is charged for them here
--      10.. kept, 4 words each: hold amount parts lease_until_ms     holds to be put right; lease 0: it stays
--      11.. events, 5 words each: kind event at_ms entries facts     at_ms 0: now; facts: "NAME VALUE", one a line
-- Replies  {"restored", id}    also to a repeat, unless another one has written the account since
--          {"exists", id}      there is such an account
--          {"moved", id}       it is not as it was inspected: look again
-- Events   those that it is told
local clock = require("lib.clock")
local keys = require("lib.keys")
local admitted = require("lib.admitted")
local buckets = require("lib.buckets")
local changes = require("lib.changes")
local ledger = require("lib.ledger")
local lists = require("lib.lists")
local snapshot = require("lib.snapshot")

local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local known, at = lists.words(ARGV, 4)
local fields, periods, credits, grants, ended, kept, events
fields, at = lists.read(ARGV, at, 2)
periods, at = lists.read(ARGV, at, 6)
credits, at = lists.read(ARGV, at, 5)
grants, at = lists.read(ARGV, at, 2)
ended, at = lists.words(ARGV, at)
kept, at = lists.read(ARGV, at, 4)
events = lists.read(ARGV, at, 5)
if redis.call("HGET", k.account, "restored_by") == ARGV[1] then
  return { "restored", ARGV[1] }
end
local _, stamp = snapshot.take(k, known)
if ARGV[3] == "absent" and stamp ~= "absent" then
  return { "exists", ARGV[1] }
elseif stamp ~= ARGV[3] then
  return { "moved", ARGV[1] }
end
for _, hold in ipairs(kept) do
  if redis.call("EXISTS", keys.hold(k, hold[1])) == 0 then
    return { "moved", ARGV[1] } -- The sweeper was there.
  end
end

-- From here on everything is written. Whoever looked at the account before this, and would write the same, sees by the
-- first of it that it was done.
redis.call("HSET", k.account, "restored_by", ARGV[1])
for _, field in ipairs(fields) do
  if field[1] == "tier" and redis.call("HGET", k.account, "tier") ~= field[2] then
    redis.call("HDEL", k.account, "tier_ends", "tier_after") -- Of the tier that it was on.
  end
  redis.call("HSET", k.account, field[1], field[2])
end
for _, period in ipairs(periods) do
  local key, ends_ms = keys.period(k, period[1], period[2]), tonumber(period[6])
  redis.call("DEL", key)
  if now_ms < ends_ms then
    redis.call("HSET", key, "amount", period[3], "left", period[4], "held", period[5], "ends_at", period[6])
    redis.call("PEXPIREAT", key, ends_ms + skew_ms)
  end
end
redis.call("DEL", k.credits, k.order)
for _, grant in ipairs(credits) do
  buckets.put_left(k, grant[1], grant[2], tonumber(grant[3]), tonumber(grant[4]), tonumber(grant[5]))
end
for _, grant in ipairs(grants) do
  redis.call("HSET", k.grants, grant[1], grant[2])
end
for _, hold in ipairs(ended) do
  local key = keys.hold(k, hold)
  admitted.free_slots(k, redis.call("HGET", key, "slots") or "", hold)
  redis.call("DEL", key)
  redis.call("ZREM", k.holds, hold)
end
for _, hold in ipairs(kept) do
  redis.call("HSET", keys.hold(k, hold[1]), "amount", hold[2], "parts", hold[3])
  if hold[4] ~= "0" then
    redis.call("ZADD", k.holds, hold[4], hold[1])
  end
end
for _, event in ipairs(events) do
  local facts, at_ms = {}, event[3] == "0" and now_ms or tonumber(event[3])
  for name, value in string.gmatch(event[5], "([^ \n]+) ([^\n]*)") do
    facts[#facts + 1], facts[#facts + 2] = name, value
  end
  ledger.append({ k = k, now_ms = at_ms, entries = { event[4] } }, event[1], event[2], facts)
end
changes.note(k)
return { "restored", ARGV[1] }
