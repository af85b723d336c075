-- grant: credits an account once. An unknown account is opened first, with its tier's sign-up grant.
--
-- KEYS  1 account
-- ARGV  1 grant_id            unique within the account for good; no white space
--       2 now_ms              "" for the server's clock
--       3 amount              units, at least 1
--       4 kind                the ledger's word: TOP_UP, ADJUSTMENT, REWARD …
--       5 reason              for the ledger, any text
--       6 priority            burned lowest first     7 expires_s   seconds since 1970, 0 for never
--       8 tier   9 zone   10 signup                   what an unknown account is opened with
-- Replies  {"granted", id, left}        also to every repeat; left: the account's balance now
--          {"conflict", id, amount}     this id was granted with another amount
--          {"overflow", id, granted}    the account's lifetime total would pass 2^53 - 1
--          {"unready", id}              an unknown account, and Redis has no epoch: lib/account.lua
-- Events   grant: an entry of the kind given, and EXPIRY for what has lapsed; opening: SIGNUP for an account that is opened
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local changes = require("lib.changes")
local ledger = require("lib.ledger")
local buckets = require("lib.buckets")

local id, amount = ARGV[1], tonumber(ARGV[3])
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local a = account.read(KEYS[1])
local LARGEST = 9007199254740991

local opens = not a
a = a or account.open(k, ARGV[8], ARGV[9])
if not a then
  return { "unready", id }
end
local book = buckets.book(k, now_ms, skew_ms, a)

local record = redis.call("HGET", k.grants, id)
if record then
  local granted = tonumber(string.match(record, "^amount=(%d+)"))
  if granted ~= amount then
    return { "conflict", id, granted }
  end
  return { "granted", id, account.left(a) }
end

local signup = opens and tonumber(ARGV[10]) or 0
if a.granted + signup > LARGEST - amount then
  return { "overflow", id, a.granted }
end

if opens then
  buckets.sign_up(book, signup)
end
buckets.save(book)
if opens then
  ledger.append(book, "opening", ledger.opening_id(book), { "tier", a.tier, "zone", a.zone })
end
buckets.put_grant(book, { id = id, amount = amount, priority = tonumber(ARGV[6]), expires_s = tonumber(ARGV[7]) })
account.set(a, "granted", a.granted + amount)
account.write(KEYS[1], a, now_ms)
changes.note(k)
ledger.entry(book, ARGV[4], "credits:" .. id, amount)
ledger.append(book, "grant", "grant:" .. k.id .. " " .. id, { "reason", ARGV[5],
  "priority", ARGV[6], "expires_s", ARGV[7] })
return { "granted", id, account.left(a) }
