-- peek: an account and all its buckets in one reading. Writes nothing.
--
-- KEYS  1 account
-- ARGV  1 id   any word; the reply echoes it    2 now_ms ("" for the server's clock)
-- Replies  {"account", id, now_ms, account, periods, credits, grants, holds}
--          account, credits, grants: alternating names and values; empty where there is none
--          periods: alternating kinds and what stands in the one that is running, in the same way
--          holds: how many holds are open in the account's partition
--          {"unknown", id, now_ms}
-- Events   none
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")

local now_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local fields = redis.call("HGETALL", KEYS[1])
if #fields == 0 then
  return { "unknown", ARGV[1], now_ms }
end
local a = {}
for i = 1, #fields, 2 do
  a[fields[i]] = fields[i + 1]
end

local running = {}
for _, kind in ipairs(account.PERIODS) do
  if a[kind] and now_ms < tonumber(a[kind .. "_ends"]) then
    running[#running + 1] = kind
    running[#running + 1] = redis.call("HGETALL", keys.period(k, kind, a[kind]))
  end
end

return { "account", ARGV[1], now_ms, fields, running, redis.call("HGETALL", k.credits),
  redis.call("HGETALL", k.grants), redis.call("ZCARD", k.holds) }
