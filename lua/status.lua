-- status: lets an account call, or says why it may not. One that may not can still be granted to.
--
-- KEYS  1 account
-- ARGV  1 id       any word; the reply echoes it    2 now_ms ("" for the server's clock)
--       3 status   active | suspended | another word for why it may not call
-- Replies  {"set", id, version, before}   also to every repeat, which changes nothing; before: the status that it had
--          {"unknown", id}                there is no such account
-- Events   status: no entries, the new status
local clock = require("lib.clock")
local keys = require("lib.keys")
local changes = require("lib.changes")
local ledger = require("lib.ledger")

local id, status = ARGV[1], ARGV[3]
local now_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local known = redis.call("HMGET", KEYS[1], "version", "status")
if not known[1] then
  return { "unknown", id }
end
local version, before = tonumber(known[1]), known[2]
if before ~= status then
  version = version + 1
  redis.call("HSET", KEYS[1], "status", status, "version", version)
  changes.note(k)
  local book = { k = k, now_ms = now_ms, entries = {} }
  ledger.append(book, "status", string.format("status:%s:%.0f@%.0f", k.id, version, now_ms), { "status", status })
end
return { "set", id, version, before }
