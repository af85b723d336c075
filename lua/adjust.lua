-- adjust: takes units from an account, as an operator's correction, all or nothing. What gives is `grant`.
--
-- KEYS  1 account
-- ARGV  1 id            made by the caller before the first send; no reservation's      2 now_ms ("" for the server's clock)
--       3 amount        units, at least 1      4 reason   for the ledger, any text
--       5 order         burn order: "hour day week month credits"
--       6 remember_ms   how long the outcome is kept
-- Replies  {"adjusted", id, left}     also to every repeat; left: over all buckets, after this
--          {"short", id, left}        only `left` is free in this order; nothing was written
--          {"unknown", id}            there is no such account
--          {"conflict", id}           this id was used with other parameters
-- Events   adjusted: ADJUSTMENT for each bucket, the reason, EXPIRY for what has lapsed
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local changes = require("lib.changes")
local ledger = require("lib.ledger")
local buckets = require("lib.buckets")
local holds = require("lib.holds")

local id, amount = ARGV[1], tonumber(ARGV[3])
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local request = string.format("adjust %s %.0f %s", k.id, amount, ARGV[5])

local hold, done, foreign = holds.find(k, id)
if foreign or hold or (done and done.request ~= request) then
  return { "conflict", id }
elseif done then
  return { "adjusted", id, done.left }
end
local a = account.read(KEYS[1])
if not a then
  return { "unknown", id }
end
local book = buckets.book(k, now_ms, skew_ms, a)
local parts, missing = buckets.plan(book, ARGV[5], amount)
if missing > 0 then
  return { "short", id, amount - missing }
end

buckets.remove(book, parts, "ADJUSTMENT")
buckets.save(book)
account.write(KEYS[1], a, now_ms)
changes.note(k)
ledger.append(book, "adjusted", string.format("adjusted:%s %s@%.0f", k.id, id, now_ms), { "reason", ARGV[4] })
local left = account.left(a)
holds.finish(k, id, tonumber(ARGV[6]), { "how", "adjusted", "request", request, "left", left })
return { "adjusted", id, left }
