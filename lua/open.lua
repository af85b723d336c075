-- open: makes an account known before its first call, with its tier's sign-up grant, or moves it to another tier.
--
-- KEYS  1 account
-- ARGV  1 id        any word, or with remember_ms one of the caller's own   2 now_ms ("" for the server's clock)
--       3 tier      4 zone ("" for the tier's own)   5 signup
--       6 move      1: an account on another tier or zone is moved; 0: it is left as it is
--       7 remember_ms   how long it is kept which id opened the account; 0: it is not
-- Replies  {"opened", id, version, tier, zone}       also to a repeat of what opened it, while that is kept
--          {"moved", id, version, tier, zone}
--          {"exists", id, version, tier, zone}       on which tier it is
--          {"unready", id}                           an unknown account, and Redis has no epoch: lib/account.lua
-- Events   opening: SIGNUP; moved: no entries, the new tier and zone
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local changes = require("lib.changes")
local ledger = require("lib.ledger")
local buckets = require("lib.buckets")
local holds = require("lib.holds")

local id, tier, zone = ARGV[1], ARGV[3], ARGV[4]
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local a = account.read(KEYS[1])
local remember_ms, request = tonumber(ARGV[7]), "open " .. k.id

if a then
  local done = remember_ms > 0 and holds.read_done(k, id)
  if done and done.request == request then
    return { "opened", id, a.version, a.tier, a.zone }
  end
  if (a.tier == tier and a.zone == zone) or ARGV[6] ~= "1" then
    return { "exists", id, a.version, a.tier, a.zone }
  end
  local version = a.version + 1
  changes.note(k)
  redis.call("HSET", KEYS[1], "tier", tier, "zone", zone, "version", version)
  local book = { k = k, now_ms = now_ms, entries = {} }
  ledger.append(book, "moved", string.format("moved:%s:%.0f@%.0f", k.id, version, now_ms), { "tier", tier, "zone", zone })
  return { "moved", id, version, tier, zone }
end
a = account.open(k, tier, zone)
if not a then
  return { "unready", id }
end
local book = buckets.book(k, now_ms, skew_ms, a)
buckets.sign_up(book, tonumber(ARGV[5]))
buckets.save(book)
changes.note(k)
account.write(KEYS[1], a, now_ms)
ledger.append(book, "opening", ledger.opening_id(book), { "tier", tier, "zone", zone })
if remember_ms > 0 then
  holds.finish(k, id, remember_ms, { "how", "opened", "request", request })
end
return { "opened", id, a.version, tier, zone }
