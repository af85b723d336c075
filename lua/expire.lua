-- expire: ends holds whose lease is over, because their gateway is gone. Bounded: the caller repeats it until 0.
--
-- KEYS  1 holds                    the partition's zset of open holds by lease end
-- ARGV  1 id                       any word; the reply echoes it
--       2 now_ms ("" for the server's clock)   3 remember_ms   4 limit   how many holds at the most
-- Replies  {"expired", id, ended, charged}     how many holds were ended, and the units charged for them
-- Events   usage, one a hold: with outcome "lost", charged by the hold's on_lost:
--          charge_counted (what its last renewal had counted) | charge_hold (all of it) | release (nothing)
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local buckets = require("lib.buckets")
local holds = require("lib.holds")
local settlement = require("lib.settlement")

local now_ms, skew_ms = clock.read(ARGV[2])
local prefix = string.match(KEYS[1], "^(qg:{p%d+}:)holds$")
local overdue = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", now_ms, "LIMIT", 0, tonumber(ARGV[4]))
local total = 0

for _, id in ipairs(overdue) do
  local account_id = redis.call("HGET", prefix .. "hold:" .. id, "account") or ""
  local k = keys.of(prefix .. "account:" .. account_id)
  local hold = holds.read(k, id)
  local a = hold and account.read(k.account, settlement.fields(hold))
  if not a then
    redis.call("DEL", prefix .. "hold:" .. id) -- Its account, or its own hash, was deleted by hand.
    redis.call("ZREM", KEYS[1], id)
  else
    local cost = hold.counted
    if hold.on_lost == "charge_hold" then
      cost = hold.amount
    elseif hold.on_lost == "release" then
      cost = 0
    end
    local used = { input = hold.counted_input, cached = 0, cache_write = 0, output = hold.counted_output,
      reasoning = 0, estimated = 1, status = 0, audio_ms = 0, images = 0 }
    local book = buckets.book(k, now_ms, skew_ms, a)
    total = total + settlement.close(book, id, hold, "expired", cost, used, tonumber(ARGV[3]))
  end
end
return { "expired", ARGV[1], #overdue, total }
