-- open: makes an account known before its first call, with its tier's sign-up grant, or moves it to another tier.
--
-- KEYS  1 account
-- ARGV  1 id        any word, or with remember_ms one of the caller's own   2 now_ms ("" for the server's clock)
--       3 tier      4 zone ("" for the tier's own)   5 signup
--       6 move      1: an account on another tier or zone is moved; 0: it is left as it is
--       7 remember_ms   how long it is kept which id opened the account; 0: it is not
--       8 tier_ends_ms  until when it is on that tier; 0: for good; "": for good, unless it is on it already
--       9 tier_after    where it goes then
-- Replies  {"opened", id, version, tier, zone}       also to a repeat of what opened it, while that is kept
--          {"moved", id, version, tier, zone}
--          {"exists", id, version, tier, zone}       on which tier it is
--          {"unready", id}                           an unknown account, and Redis has no epoch: lib/account.lua
-- Events   opening: SIGNUP; moved: no entries, the new tier and zone; also for a tier that has ended by now
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
  account.end_tier(k, a, now_ms)
  local how = "exists"
  local stays = a.tier == tier
  if ARGV[6] == "1" then
    if not stays or a.zone ~= zone then
      how = "moved"
      account.move(k, a, tier, zone, now_ms)
    end
    if not stays or ARGV[8] ~= "" then
      account.set_end(k, a, tonumber(ARGV[8]) or 0, ARGV[9])
    end
  end
  return { how, id, a.version, a.tier, a.zone }
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
account.set_end(k, a, tonumber(ARGV[8]) or 0, ARGV[9])
ledger.append(book, "opening", ledger.opening_id(book), { "tier", tier, "zone", zone })
if remember_ms > 0 then
  holds.finish(k, id, remember_ms, { "how", "opened", "request", request })
end
return { "opened", id, a.version, tier, zone }
