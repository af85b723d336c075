-- release: gives a hold back in full, because nothing was used. Also spends an id that was never held, so that a
-- reserve whose reply was lost can still be called off: whichever of the two runs first, nothing stays held.
--
-- KEYS  1 account
-- ARGV  1 id   2 now_ms ("" for the server's clock)   3 remember_ms   4 status   HTTP status of the answer, 0 for none
-- Replies  {"released", id, left}     also to every repeat
--          {"ended", id, how}         this id has settled already, or is no reservation's
--          {"conflict", id}           this id is another account's
-- Events   usage: with outcome "released", cost 0; EXPIRY for what has lapsed; after an expiry REFUND of what it charged,
--          under "ID:late"
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local buckets = require("lib.buckets")
local holds = require("lib.holds")
local settlement = require("lib.settlement")

local id, remember_ms = ARGV[1], tonumber(ARGV[3])
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local hold, done, foreign = holds.find(k, id)
local a = account.read(KEYS[1], settlement.fields(hold or done))
local book = a and buckets.book(k, now_ms, skew_ms, a)
local used = { input = 0, cached = 0, cache_write = 0, output = 0, reasoning = 0, estimated = 0, status = ARGV[4],
  audio_ms = 0, images = 0 }

if foreign then
  return { "conflict", id }
elseif hold then
  local _, _, left = settlement.close(book, id, hold, "released", 0, used, remember_ms)
  return { "released", id, left }
elseif not done then
  local left = a and account.left(a) or 0
  holds.finish(k, id, remember_ms, { "how", "released", "request", "", "cost", 0, "charged", 0, "written_off", 0,
    "left", left })
  return { "released", id, left }
elseif done.how == "released" then
  return { "released", id, done.left }
elseif done.how == "expired" then
  local _, _, left = settlement.correct(book, id, done, "released", 0, used, remember_ms)
  return { "released", id, left }
end
return { "ended", id, done.how }
