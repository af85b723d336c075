-- report: tokens that were used elsewhere, told from outside: counted once, and charged for nothing. An unknown account is
-- opened first, with its tier's sign-up grant.
--
-- KEYS  1 account
-- ARGV  1 id          made by the caller before the first send; no reservation's    2 now_ms ("" for the server's clock)
--       3 remember_ms   how long the outcome is kept
--       4 input   5 output   tokens, where they are known    6 total   of all tokens, these included
--       7 operation   8 model   9 key   10 session   facts of the call, for the ledger
--      11 day   12 day_starts_ms   13 day_ends_ms   14 next_day   15 next_day_ends_ms   the account's local day
--      16 tier   17 zone   18 signup   what an unknown account is opened with
-- Replies  {"reported", id, used_tokens}   also to every repeat; used_tokens: the account's total after this report
--          {"overflow", id, used_tokens}   that would pass 2^53 - 1
--          {"conflict", id}                this id was used with other parameters
--          {"unready", id}                 the account is unknown, and Redis has no epoch: it may be the ledger's
-- Events   usage: with outcome "reported", cost 0, no entries; opening: SIGNUP for an account that is opened
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local changes = require("lib.changes")
local ledger = require("lib.ledger")
local buckets = require("lib.buckets")
local holds = require("lib.holds")
local periods = require("lib.periods")

local LARGEST = 9007199254740991

local id, input, output, total = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local request = string.format("report %s %.0f %.0f %.0f %s %s", k.id, input, output, total, ARGV[7], ARGV[8])

local hold, done, foreign = holds.find(k, id)
if foreign or hold or (done and done.request ~= request) then
  return { "conflict", id }
elseif done then
  return { "reported", id, tonumber(done.used_tokens) }
end
local a = account.read(KEYS[1])
if a and a.used_tokens > LARGEST - total then
  return { "overflow", id, a.used_tokens }
end

local book = { k = k, now_ms = now_ms, entries = {} }
if not a then
  a = account.open(k, ARGV[16], ARGV[17])
  if not a then
    return { "unready", id }
  end
  book = buckets.book(k, now_ms, skew_ms, a)
  buckets.sign_up(book, tonumber(ARGV[18]))
  buckets.save(book)
  changes.note(k)
  ledger.append(book, "opening", ledger.opening_id(book), { "tier", a.tier, "zone", a.zone })
end
a.used_tokens = a.used_tokens + total
account.write(KEYS[1], a, now_ms)
-- A caller whose clock is off by days has no better day to tell than the nearest one that it knows.
local window = periods.window(ARGV, 11)
local day = now_ms < window.ends_ms and window.id or window.next_id
local told = {
  "reservation", id, "outcome", "reported", "operation", ARGV[7], "model", ARGV[8], "route", "", "key", ARGV[9],
  "price_version", "", "day", day, "input", input, "cached", 0, "cache_write", 0, "output", output,
  "reasoning", 0, "estimated", 0, "status", 0, "cost", 0, "written_off", 0, "started_at", now_ms,
  "reported", total - input - output,
}
if ARGV[10] ~= "" then
  told[#told + 1], told[#told + 2] = "session", ARGV[10]
end
ledger.append(book, "usage", id, told)
holds.finish(k, id, tonumber(ARGV[3]), { "how", "reported", "request", request, "used_tokens", a.used_tokens })
return { "reported", id, a.used_tokens }
