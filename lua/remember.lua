-- remember: claims an Idempotency-Key for one call, or says what became of the call that has it.
--
-- KEYS  1 account
-- ARGV  1 id            the reservation's id: a repeat with it lengthens the claim's lease
--       2 now_ms        "" for the server's clock
--       3 hash          of the key, as part of a name
--       4 fingerprint   of the request: method, target and body
--       5 lease_ms      how long the claim lives without a repeat      6 keep_ms   how long the outcome is remembered
-- Replies  {"claimed", id}                              the call is this one's to make
--          {"running", id, other}                       another call has it, and is under way
--          {"lost", id, other}                          its gateway fell silent: nobody knows what became of it
--          {"done", id, other, status, headers, body}   it has this answer
--          {"unkept", id, other, status}                it has ended, and its answer was not kept
--          {"reused", id, other}                        the key belongs to another request
-- Events   none
local clock = require("lib.clock")
local keys = require("lib.keys")

local id, now_ms = ARGV[1], clock.read(ARGV[2])
local key = keys.idempotent(keys.of(KEYS[1]), ARGV[3])
local v = redis.call("HMGET", key, "fingerprint", "reservation", "state", "lease_until", "status", "headers", "body")
local other, state = v[2], v[3]

if not v[1] or (other == id and (state == "running" or state == "lost")) then
  local lease_ms = tonumber(ARGV[5])
  redis.call("HSET", key, "fingerprint", ARGV[4], "reservation", id, "state", "running", "lease_until", now_ms + lease_ms)
  redis.call("PEXPIRE", key, tonumber(ARGV[6]) + lease_ms)
  return { "claimed", id }
elseif v[1] ~= ARGV[4] then
  return { "reused", id, other }
elseif state == "done" then
  return { "done", id, other, tonumber(v[5]), v[6], v[7] }
elseif state == "unkept" then
  return { "unkept", id, other, tonumber(v[5]) }
elseif state == "running" and now_ms < tonumber(v[4]) then
  return { "running", id, other }
end
redis.call("HSET", key, "state", "lost")
return { "lost", id, other }
