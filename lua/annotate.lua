-- annotate: notes what an open reservation of the API is for, in its caller's words. It moves no balance.
--
-- KEYS  1 account
-- ARGV  1 id        the reservation's    2 now_ms   as all calls have it
--       3 purpose   4 metadata           in the caller's words, and as JSON text; "" for neither
-- Replies  {"annotated", id}      also to every repeat
--          {"unknown", id}        the account has no such reservation open, or it is a proxied call's
-- Events   none: the one of the reservation's end tells it
local keys = require("lib.keys")

local id = ARGV[1]
local k = keys.of(KEYS[1])
local hold_key = keys.hold(k, id)
local hold = redis.call("HMGET", hold_key, "account", "route")
if hold[1] ~= k.id or hold[2] ~= "" then
  return { "unknown", id }
end
redis.call("HSET", hold_key, "purpose", ARGV[3], "metadata", ARGV[4])
return { "annotated", id }
