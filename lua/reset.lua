-- reset: opens the periods that are due, as a call would, without one. Twice changes nothing; an account that may not call
-- has its periods all the same.
--
-- KEYS  1 account
-- ARGV  1 id        made by the caller before the first send    2 now_ms ("" for the server's clock)
--       3 version   the account's version as the caller believes it
--       4 anchor    the local date the account was opened on, where its tier asks for it; else ""
--       5 day       6 day_starts_ms   7 day_ends_ms   8 next_day   9 next_day_ends_ms
--      10.. allowances, 8 words each: kind amount rollover id starts_ms ends_ms next_id next_ends_ms
-- Replies  {"reset", id, opened, left, resets_at_ms}   opened: the kinds of the periods that this opened; left: over all
--              buckets; resets_at_ms: when the first of the periods that are open ends
--          {"stale", id, version, tier, zone, anchor, first_seen}   the caller's account is out of date: repeat with this
--          {"clock", id, now_ms}                       now is in none of the caller's windows: repeat with others
--          {"unknown", id}                             there is no such account
-- Events   opening: as `reserve` writes it, for what this opened or found lapsed
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local admission = require("lib.admission")
local changes = require("lib.changes")
local ledger = require("lib.ledger")
local buckets = require("lib.buckets")
local periods = require("lib.periods")

local id = ARGV[1]
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local a = account.read(KEYS[1])
if not a then
  return { "unknown", id }
elseif account.end_tier(k, a, now_ms) or a.version ~= tonumber(ARGV[3]) then
  return admission.stale(k, id, a)
end
local day, day_ends_ms = periods.at(periods.window(ARGV, 5), now_ms)
local allowances = periods.allowances(ARGV, 10)
local book = day and admission.book(k, now_ms, skew_ms, a, allowances, 0)
if not book then
  return { "clock", id, now_ms }
end

local opened = {}
for _, allowance in ipairs(allowances) do
  local period = book.periods[allowance.kind]
  if period and period.opens_with then
    opened[#opened + 1] = allowance.kind
  end
end
if #opened > 0 or #book.entries > 0 then
  buckets.save(book)
  account.write(KEYS[1], a, now_ms)
  changes.note(k)
  if ARGV[4] ~= "" then
    redis.call("HSETNX", KEYS[1], "anchor", ARGV[4])
  end
  if #book.entries > 0 then
    ledger.append(book, "opening", string.format("reset:%s %s@%.0f", k.id, id, now_ms), {})
  end
end
return { "reset", id, opened, account.left(a), periods.next_end_ms(book, day_ends_ms) }
