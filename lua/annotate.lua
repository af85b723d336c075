-- annotate: notes what an open reservation is for, in its caller's words. It moves no balance.
--
-- KEYS  1 account
-- ARGV  1 id        the reservation's    2 now_ms   as all calls have it
--       3 purpose   4 metadata           in the caller's words, and as JSON text; "" for neither
-- Replies  {"annotated", id}      also to every repeat
--          {"unknown", id}        the account has no such reservation open
-- Events   none: the one of the reservation's end tells it
local keys = require("lib.keys")

local id = ARGV[1]
local k = keys.of(KEYS[1])
local hold_key = keys.hold(k, id)
if redis.call("HGET", hold_key, "account") ~= k.id then
  return { "unknown", id }
end
redis.call("HSET", hold_key, "purpose", ARGV[3], "metadata", ARGV[4])
return { "annotated", id }
