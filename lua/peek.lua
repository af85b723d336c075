-- peek: an account and all its buckets in one reading. Writes nothing.
--
-- KEYS  1 account
-- ARGV  1 id   any word; the reply echoes it    2 now_ms ("" for the server's clock)
-- Replies  {"account", id, now_ms, account, day, month, credits, grants, holds}
--          account, day, month, credits, grants: alternating names and values; empty where there is none
--          holds: how many holds are open in the account's partition
--          {"unknown", id, now_ms}
-- Events   none
local clock = require("lib.clock")
local keys = require("lib.keys")

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

local function period(kind)
  local bucket = a[kind] ~= "" and redis.call("HGETALL", keys.period(k, kind, a[kind])) or {}
  for i = 1, #bucket, 2 do
    if bucket[i] == "ends_at" and now_ms >= tonumber(bucket[i + 1]) then
      return {}
    end
  end
  return bucket
end

return { "account", ARGV[1], now_ms, fields, period("day"), period("month"), redis.call("HGETALL", k.credits),
  redis.call("HGETALL", k.grants), redis.call("ZCARD", k.holds) }
