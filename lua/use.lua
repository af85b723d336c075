-- use: spends at once, without a hold, for one line or for up to 1,000 of them: all or nothing.
--
-- KEYS  1 account                  the account's hash; every other key is derived from it (lib/keys.lua)
-- ARGV  1 id                       made by the caller before the first send; that of a reservation from now on
--       2 now_ms                   "" for the server's clock
--       3 version                  the account's version as the caller believes it; 0: not known
--       4 remember_ms              how long the outcome is kept
--       5 kind                     the ledger's word: USAGE | LICENSE_USE
--       6 key                      the API key it came with, for the ledger and for policies
--       7 zone                     the account's own, "" for its tier's: what an unknown account is opened with
--       8 ip   9 team   10 organisation   whom its policies count it against, beside account and key; "" for none
--      11 session                  a conversation, say, that it is part of; for the ledger
--      12.. lines, 3 words each: amount purpose metadata
--      13 operation  14 route    15 price_version  16 on_lost   more facts; the last is for those who hold
--      17 tier                   what an unknown account is opened with
--      18 signup                 the tier's grant, 0 for none
--      19 order                  burn order: "hour day week month credits"
--      20 anchor                 the local date the account was opened on, where its tier asks for it; else ""
--      21 day        22 day_starts_ms   23 day_ends_ms   24 next_day   25 next_day_ends_ms
--      26.. allowances, 8 words each: kind amount rollover id starts_ms ends_ms next_id next_ends_ms
--      27.. policies, 7 words each: name measure mode by steps step_ms room
-- Replies  {"used", id, before, left, resets_at_ms}   also to every repeat; before - left is what all lines cost
--          {"denied", id, policy, retry_after_ms, left, violated, states, held, most}   as `reserve` says it; a
--              policy of concurrency is not about it, and all lines are one request to the others
--          {"suspended", id, status}                  the account may not call
--          {"unready", id}                            the account is unknown, and Redis has no epoch: it may be the ledger's
--          {"stale", id, version, tier, zone, anchor, first_seen}   the caller's account is out of date: repeat with this
--          {"clock", id, now_ms}                      now is in none of the caller's windows: repeat with others
--          {"conflict", id}                           this id was used with other parameters
--          {"ended", id, how}                         this id was released before it was used: nothing is charged
-- Events   opening: as `reserve` writes it; usage, one a line: an entry of the kind given for each bucket, under the id
--          "ID" of an only line, else "ID/1", "ID/2" …
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local admission = require("lib.admission")
local ledger = require("lib.ledger")
local buckets = require("lib.buckets")
local denial = require("lib.denial")
local holds = require("lib.holds")
local periods = require("lib.periods")
local policies = require("lib.policies")

local LINE_WORDS = 3

-- The lines: their number, then three arguments each. Returns what they cost together, their number, and the index of
-- the argument after them.
local function sum_of(argv, from)
  local sum, count = 0, tonumber(argv[from])
  for n = 1, count do
    sum = sum + tonumber(argv[from + 1 + (n - 1) * LINE_WORDS])
  end
  return sum, count, from + 1 + count * LINE_WORDS
end

-- Takes `amount` units off the front of parts, as entries of the event to come.
local function enter(book, kind, parts, amount)
  while amount > 0 do
    local part = parts[parts.first]
    local units = math.min(amount, part.amount)
    ledger.entry(book, kind, part.bucket, -units)
    part.amount = part.amount - units
    amount = amount - units
    if part.amount == 0 then
      parts.first = parts.first + 1
    end
  end
end

local id, kind = ARGV[1], ARGV[5]
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local sum, count, terms_at = sum_of(ARGV, 12)
local operation, route = ARGV[terms_at], ARGV[terms_at + 1]
local request = string.format("use %s %s %.0f %.0f %s", k.id, kind, sum, count, operation)

-- A repeat is answered from what stands.
local hold, done, foreign = holds.find(k, id)
if foreign or hold then
  return { "conflict", id }
elseif done and done.request == request then
  return { "used", id, tonumber(done.before), done.left, tonumber(done.resets_at) }
elseif done and done.request == "" then
  return { "ended", id, done.how }
elseif done then
  return { "conflict", id }
end

-- Who is calling?
local day_window = periods.window(ARGV, terms_at + 8)
local day, day_ends_ms = periods.at(day_window, now_ms)
local allowances, policies_at = periods.allowances(ARGV, terms_at + 13)
local a = account.read(KEYS[1], policies.fields(ARGV, policies_at))
if not a then
  a = account.open(k, ARGV[terms_at + 4], ARGV[7])
  if not a then
    return { "unready", id }
  end
elseif account.end_tier(k, a, now_ms) or a.version ~= tonumber(ARGV[3]) then
  return admission.stale(k, id, a)
elseif a.status ~= "active" then
  return { "suspended", id, a.status }
end

-- The periods it falls in, opened when they are due.
if not day then
  return { "clock", id, now_ms }
end
local book = admission.book(k, now_ms, skew_ms, a, allowances, tonumber(ARGV[terms_at + 5]))
if not book then
  return { "clock", id, now_ms }
end

-- Is there enough, and does every rate let it pass?
local order = ARGV[terms_at + 6]
local parts, missing = buckets.plan(book, order, sum)
local rates, policy_count = {}, tonumber(ARGV[policies_at])
if policy_count > 0 then
  local who = { account = k.id, key = ARGV[6], ip = ARGV[8], team = ARGV[9], organisation = ARGV[10], model = "",
    operation = operation, route = route }
  for _, policy in ipairs(policies.read(ARGV, policies_at, who, a.override, now_ms)) do
    if policy.measure ~= "concurrent" then -- Nothing stays open.
      rates[#rates + 1] = policy
    end
  end
  policies.look(k, rates, { input = 0, output = 0, tokens = 0, cost = sum, requests = 1 }, a, now_ms)
end
local states = policies.states(rates, policy_count)
local violated, tightest = policies.violated(rates)
if missing > 0 or tightest then
  return denial.reply(book, id, order, allowances, sum, missing, violated, tightest, states)
end

-- From here on everything is written.
local before = account.left(a)
a.requests = a.requests + count
buckets.spend(book, parts)
buckets.save(book)
local _, _, shadow = policies.admit(book, rates, id, now_ms)
account.write(KEYS[1], a, now_ms)
if ARGV[terms_at + 7] ~= "" then
  redis.call("HSETNX", KEYS[1], "anchor", ARGV[terms_at + 7])
end
if #book.entries > 0 then
  ledger.append(book, "opening", "opening:" .. id, a.is_new and { "tier", a.tier, "zone", a.zone } or {})
end

parts.first = 1
for n = 1, count do
  local at = 13 + (n - 1) * LINE_WORDS
  local line_id = count == 1 and id or string.format("%s/%.0f", id, n)
  local told = {
    "reservation", line_id, "outcome", "settled", "operation", operation, "model", "", "route", route, "key", ARGV[6],
    "price_version", ARGV[terms_at + 2], "day", day, "input", 0, "cached", 0, "cache_write", 0, "output", 0,
    "reasoning", 0, "estimated", 0, "status", 0, "cost", ARGV[at], "written_off", 0, "started_at", now_ms,
  }
  -- What would have denied all lines is told with the first.
  for _, fact in ipairs({ { "purpose", ARGV[at + 1] }, { "metadata", ARGV[at + 2] }, { "session", ARGV[11] },
    { "shadow", n == 1 and shadow or "" } }) do
    if fact[2] ~= "" then
      told[#told + 1], told[#told + 2] = fact[1], fact[2]
    end
  end
  enter(book, kind, parts, tonumber(ARGV[at]))
  ledger.append(book, "usage", line_id, told)
end

local left, resets_at_ms = account.left(a), periods.next_end_ms(book, day_ends_ms)
holds.finish(k, id, tonumber(ARGV[4]), { "how", "settled", "request", request, "cost", sum, "charged", sum,
  "written_off", 0, "before", before, "left", left, "resets_at", resets_at_ms })
return { "used", id, before, left, resets_at_ms }
