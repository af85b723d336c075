-- renew: lengthens a hold's lease, notes what was counted so far, and reserves more for a call that outgrows its hold.
--
-- KEYS  1 account
-- ARGV  1 id   2 now_ms ("" for the server's clock)   3 lease_ms   4 renewal   the number of this renewal, from 1
--       5 counted          units that the call has cost so far: what an expiry charges by default
--       6 counted_input    7 counted_output   tokens
--       8 more             units to hold in addition, all or nothing; 0 for none
-- Replies  {"renewed", id, amount, left}     amount: units now held
--          {"refused", id, amount, left}     the balance does not cover `more`, only `left` in this call's burn order;
--                                            the lease is lengthened all the same
--          {"ended", id, how}                this id has ended
--          {"conflict", id}                  this id is another account's
--          {"unknown", id}                   no such hold, and none remembered
-- Events   opening: EXPIRY for what has lapsed, when more is held; else none, as nothing is spent yet
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local ledger = require("lib.ledger")
local buckets = require("lib.buckets")
local holds = require("lib.holds")
local admitted = require("lib.admitted")

local id, more = ARGV[1], tonumber(ARGV[8])
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local hold, done, foreign = holds.find(k, id)

if foreign then
  return { "conflict", id }
elseif done then
  return { "ended", id, done.how }
elseif not hold then
  return { "unknown", id }
end

local a = account.read(KEYS[1])
local book = buckets.book(k, now_ms, skew_ms, a)
local last, answer = string.match(hold.renewal, "^(%d+) (%a+)$")
if last and tonumber(ARGV[4]) <= tonumber(last) then
  -- A repeat reserves no second time.
  local _, missing = buckets.plan(book, hold.order, more)
  return { answer, id, hold.amount, answer == "refused" and more - missing or account.left(a) }
end

answer = "renewed"
local left
if more > 0 then
  local parts, missing = buckets.plan(book, hold.order, more)
  if missing > 0 then
    answer = "refused"
    left = more - missing
  else
    buckets.take(book, parts)
    buckets.save(book)
    account.write(KEYS[1], a, now_ms)
    if #book.entries > 0 then
      ledger.append(book, "opening", "renewal:" .. id .. ":" .. ARGV[4], {})
    end
    holds.merge(hold.parts, parts)
    hold.amount = hold.amount + more
  end
end
redis.call("HSET", keys.hold(k, id), "amount", hold.amount, "parts", holds.text(hold.parts), "counted", ARGV[5],
  "counted_input", ARGV[6], "counted_output", ARGV[7], "renewal", ARGV[4] .. " " .. answer)
redis.call("ZADD", k.holds, now_ms + tonumber(ARGV[3]), id)
admitted.keep_slots(k, hold.slots, id, now_ms + tonumber(ARGV[3]))
return { answer, id, hold.amount, left or account.left(a) }
