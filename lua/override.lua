-- override: stretches or narrows an account's rate and concurrency limits for a while, or ends that.
--
-- KEYS  1 account
-- ARGV  1 id          any word; the reply echoes it    2 now_ms ("" for the server's clock)
--       3 num   4 den   its limits become num/den of what they are; 1/1 ends an override
--       5 until_ms    when it ends by itself
-- Replies  {"overridden", id, until_ms}
--          {"unknown", id}                 there is no such account
-- Events   none
local changes = require("lib.changes")
local clock = require("lib.clock")
local keys = require("lib.keys")

local id, until_ms = ARGV[1], tonumber(ARGV[5])
local now_ms = clock.read(ARGV[2])
if redis.call("EXISTS", KEYS[1]) == 0 then
  return { "unknown", id }
end
if ARGV[3] == ARGV[4] or until_ms <= now_ms then
  redis.call("HDEL", KEYS[1], "override")
else
  redis.call("HSET", KEYS[1], "override", string.format("%s/%s until %.0f", ARGV[3], ARGV[4], until_ms))
end
changes.note(keys.of(KEYS[1]))
return { "overridden", id, until_ms }
