-- settle: charges what a call truly cost, once, and gives back what its hold did not need.
--
-- KEYS  1 account
-- ARGV  1 id            2 now_ms ("" for the server's clock)      3 remember_ms, how long the outcome is kept
--       4 cost          units
--       5 input  6 cached  7 cache_write  8 output  9 reasoning   tokens
--      10 estimated     1 when the counts are an estimate, else 0
--      11 status        HTTP status of the answer
--      12 audio_ms     13 images    what else was used
-- Replies  {"settled", id, charged, written_off, left}    also to every repeat
--          {"conflict", id}                               this id settled with another cost, or is another account's
--          {"ended", id, how}                             this id was released, or is no reservation's: nothing is charged
--          {"unknown", id}                                no such hold, and none remembered
-- Events   usage: USAGE a bucket, WRITE_OFF for what nothing covers, EXPIRY for what has lapsed; after an expiry the
--          differences only, under "ID:late"
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local buckets = require("lib.buckets")
local holds = require("lib.holds")
local settlement = require("lib.settlement")

local id, remember_ms, cost = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local hold, done, foreign = holds.find(k, id)
local used = {
  input = tonumber(ARGV[5]), cached = ARGV[6], cache_write = ARGV[7], output = tonumber(ARGV[8]),
  reasoning = ARGV[9], estimated = ARGV[10], status = ARGV[11], audio_ms = ARGV[12], images = ARGV[13],
}

if foreign then
  return { "conflict", id }
elseif not hold and not done then
  return { "unknown", id }
elseif done and done.how == "settled" then
  if done.cost ~= cost then
    return { "conflict", id }
  end
  return { "settled", id, done.charged, done.written_off, done.left }
elseif done and done.how ~= "expired" then
  return { "ended", id, done.how }
end
local book = buckets.book(k, now_ms, skew_ms, account.read(KEYS[1], settlement.fields(hold or done)))
if hold then
  return { "settled", id, settlement.close(book, id, hold, "settled", cost, used, remember_ms) }
end
return { "settled", id, settlement.correct(book, id, done, "settled", cost, used, remember_ms) }
