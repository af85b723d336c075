-- keep: ends a call's claim on its Idempotency-Key: with an outcome that answers every repeat, or with the key set free.
--
-- KEYS  1 account
-- ARGV  1 id            the reservation's id      2 now_ms ("" for the server's clock)
--       3 hash          of the key                4 fingerprint   of the request
--       5 keep_ms       how long the outcome is remembered
--       6 state         done | unkept (its answer is too large, or was never whole) | free (nothing came of it)
--       7 status        of the answer, 0 without one
--       8 headers       9 body                    as they were sent; "" unless done
-- Replies  {"kept", id}          also to every repeat
--          {"taken", id, other}  Redis had lost the claim, and another call has made its own
-- Events   none
local clock = require("lib.clock")
local keys = require("lib.keys")

local id, now_ms, state = ARGV[1], clock.read(ARGV[2]), ARGV[6]
local key = keys.idempotent(keys.of(KEYS[1]), ARGV[3])
local other = redis.call("HGET", key, "reservation")

if other and other ~= id then
  return { "taken", id, other }
elseif state == "free" then
  redis.call("DEL", key)
  return { "kept", id }
end
redis.call("HSET", key, "fingerprint", ARGV[4], "reservation", id, "state", state, "ended_at", now_ms,
  "status", ARGV[7], "headers", ARGV[8], "body", ARGV[9])
redis.call("HDEL", key, "lease_until")
redis.call("PEXPIRE", key, ARGV[5])
return { "kept", id }
