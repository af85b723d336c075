-- reserve: checks everything a call may cost against its account and holds it, all or nothing.
--
-- KEYS  1 account                  the account's hash; every other key is derived from it (lib/keys.lua)
-- ARGV  1 id                       the reservation's id, made by the caller before the first send
--       2 now_ms                   "" for the server's clock
--       3 version                  the account's version as the caller believes it; 0: not known
--       4 amount                   units to hold; 0 for a free operation
--       5 lease_ms                 how long the hold lives without a renewal
--       6 model       7 key      facts of the call, for the ledger
--       8 zone                   the account's own, "" for its tier's: what an unknown account is opened with
--       9 input      10 output   tokens the call may use at the most, for policies
--      11 ip         12 team     13 organisation   whom its policies count it against, beside account and key; "" for none
--      14 session                a conversation, say, that the call is part of; for the ledger
--      15 operation  16 route    17 price_version  18 on_lost   more facts of the call
--      19 tier                   what an unknown account is opened with
--      20 signup                 the tier's grant, 0 for none
--      21 order                  burn order: "hour day week month credits"
--      22 anchor                 the local date the account was opened on, where its tier asks for it; else ""
--      23 day        24 day_starts_ms   25 day_ends_ms   26 next_day   27 next_day_ends_ms
--      28.. allowances, 8 words each: kind amount rollover id starts_ms ends_ms next_id next_ends_ms
--      29.. policies, 7 words each: name measure mode by steps step_ms room
-- Replies  {"reserved", id, version, left, resets_at_ms, states}   left: over all buckets, after this hold
--          {"denied", id, policy, retry_after_ms, left, violated, states, held, most}
--              policy: what denies it longest: a policy's name, hour | day | week | month, or credits and -1: waiting
--              does not help; violated: the names of all that deny it
--              states: four integers a policy, in the caller's order: what is left of it, when it is back in full, how
--              much it holds (-1: it is not about this call), and whether it denies this call
--              held: 0 when no call under way can give anything back
--              most: the balance denies larger amounts by another policy; -1: by none
--          {"suspended", id, status}                           the account may not call
--          {"unready", id}                                     an unknown account, and Redis has no epoch: lib/account.lua
--          {"stale", id, version, tier, zone, anchor, first_seen}   the caller's account is out of date: repeat with this
--          {"clock", id, now_ms}                               now is in none of the caller's windows: repeat with others
--          {"conflict", id}                                    this id was used with other parameters
--          {"ended", id, how}                                  this id has settled, been released or expired already
-- Events   opening: SIGNUP, a reset (HOURLY_RESET, DAILY_RESET …) and ROLLOVER of what this call opened, EXPIRY of what
--          it found lapsed
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

local id, amount = ARGV[1], tonumber(ARGV[4])
local now_ms, skew_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local request = string.format("%s %s %s %s", k.id, ARGV[4], ARGV[15], ARGV[6])
local hold_key, done_key = keys.hold(k, id), keys.done(k, id)

local day_window = periods.window(ARGV, 23)
local day, day_ends_ms = periods.at(day_window, now_ms)
local allowances, policies_at = periods.allowances(ARGV, 28)
local a = account.read(KEYS[1], policies.fields(ARGV, policies_at))

-- A repeat is answered from what stands.
if redis.call("EXISTS", hold_key, done_key) > 0 then
  local held_for = redis.call("HGET", hold_key, "request")
  if held_for == request then
    local book = buckets.book(k, now_ms, skew_ms, a)
    return { "reserved", id, a.version, account.left(a), periods.next_end_ms(book, day_window.ends_ms), {} }
  elseif held_for then
    return { "conflict", id }
  end
  local done = redis.call("HMGET", done_key, "how", "request")
  if done[2] ~= request and done[2] ~= "" then
    return { "conflict", id }
  end
  return { "ended", id, done[1] }
end

-- Who is calling?
if not a then
  a = account.open(k, ARGV[19], ARGV[8])
  if not a then
    return { "unready", id }
  end
elseif account.end_tier(k, a, now_ms) or a.version ~= tonumber(ARGV[3]) then
  return admission.stale(k, id, a)
elseif a.status ~= "active" then
  return { "suspended", id, a.status }
end

-- The periods this call falls in, opened when they are due.
if not day then
  return { "clock", id, now_ms }
end
local book = admission.book(k, now_ms, skew_ms, a, allowances, tonumber(ARGV[20]))
if not book then
  return { "clock", id, now_ms }
end

-- Is there enough, and does every policy let it pass? If not, when would they?
local parts, missing = buckets.plan(book, ARGV[21], amount)
local met, policy_count = {}, tonumber(ARGV[policies_at])
if policy_count > 0 then
  local who = { account = k.id, key = ARGV[7], ip = ARGV[11], team = ARGV[12], organisation = ARGV[13], model = ARGV[6],
    operation = ARGV[15], route = ARGV[16] }
  local input, output = tonumber(ARGV[9]), tonumber(ARGV[10])
  met = policies.read(ARGV, policies_at, who, a.override, now_ms)
  policies.look(k, met,
    { input = input, output = output, tokens = input + output, cost = amount, requests = 1, concurrent = 1 }, a, now_ms)
end
local states = policies.states(met, policy_count)
local violated, tightest = policies.violated(met)
if missing > 0 or tightest then
  return denial.reply(book, id, ARGV[21], allowances, amount, missing, violated, tightest, states)
end

-- From here on everything is written.
a.requests = a.requests + 1
buckets.take(book, parts)
buckets.save(book)
local lease_until_ms = now_ms + tonumber(ARGV[5])
local rates, slots, shadow = policies.admit(book, met, id, lease_until_ms)
account.write(KEYS[1], a, now_ms)
if ARGV[22] ~= "" then
  redis.call("HSETNX", KEYS[1], "anchor", ARGV[22])
end
redis.call("HSET", hold_key, "account", k.id, "request", request, "amount", ARGV[4], "parts", holds.text(parts),
  "order", ARGV[21], "operation", ARGV[15], "model", ARGV[6], "route", ARGV[16], "key", ARGV[7],
  "price_version", ARGV[17], "local_day", day, "opened_at", now_ms, "on_lost", ARGV[18], "rates", rates, "slots", slots,
  "first_amount", ARGV[4])
if shadow ~= "" then
  redis.call("HSET", hold_key, "shadow", shadow)
end
if ARGV[14] ~= "" then
  redis.call("HSET", hold_key, "session", ARGV[14])
end
redis.call("ZADD", k.holds, lease_until_ms, id)
if #book.entries > 0 then
  ledger.append(book, "opening", "opening:" .. id, a.is_new and { "tier", a.tier, "zone", a.zone } or {})
end
return { "reserved", id, a.version, account.left(a), periods.next_end_ms(book, day_ends_ms), states }
