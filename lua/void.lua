-- void: takes back what a grant has left, and ends it. What open calls hold of it is theirs to spend; what they give back
-- lapses, like that of a grant past its expiry.
--
-- KEYS  1 account
-- ARGV  1 id       any word; the reply echoes it    2 now_ms ("" for the server's clock)
--       3 grant    the grant's id                 4 reason   for the ledger, any text
--       5 kind     the ledger's word: ADJUSTMENT, or REVERSAL when what was paid goes back
-- Replies  {"voided", id, amount, left}   also to every repeat; amount: what was taken, left: the account's balance now
--          {"unknown", id}                there is no such account, or no such grant
-- Events   voided: an entry of the kind given over what it had left, the reason, EXPIRY for what has lapsed
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local changes = require("lib.changes")
local ledger = require("lib.ledger")
local buckets = require("lib.buckets")

local id, grant_id = ARGV[1], ARGV[3]
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local a = account.read(KEYS[1])
local record = a and redis.call("HGET", k.grants, grant_id)
if not record then
  return { "unknown", id }
end
local book = buckets.book(k, now_ms, skew_ms, a)
local voided = string.match(record, " voided=(%d+)")
if voided then
  return { "voided", id, tonumber(voided), account.left(a) }
end

local amount = buckets.void(book, grant_id, record, ARGV[5])
buckets.save(book)
account.write(KEYS[1], a, now_ms)
changes.note(k)
ledger.append(book, "voided", "voided:" .. k.id .. " " .. grant_id, { "reason", ARGV[4], "grant", grant_id })
return { "voided", id, amount, account.left(a) }
