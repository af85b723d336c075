-- The end of a hold: what it cost is spent from the parts it took, the rest goes back, and the ledger hears of it.
local account = require("lib.account")
local admitted = require("lib.admitted")
local buckets = require("lib.buckets")
local changes = require("lib.changes")
local holds = require("lib.holds")
local keys = require("lib.keys")
local ledger = require("lib.ledger")

local settlement = {}

-- What was not covered by any bucket stands under this name: charged, and written off in the same breath.
local OVERDRAFT = "overdraft"

-- Spends `cost` from held parts in burn order; an excess is drawn from what the account still has, down to zero.
-- before: what an earlier end already charged, {} the first time; the entries say only the difference.
-- Returns the parts charged and what had to be written off.
local function spend(book, order, parts, cost, before, before_written_off)
  local held = 0
  for _, part in ipairs(parts) do
    held = held + part.amount
  end
  if cost > held then
    local more = buckets.plan(book, order, cost - held)
    buckets.take(book, more)
    holds.merge(parts, more)
  end
  local charged, rest = {}, cost
  for _, part in ipairs(parts) do
    local kept = math.min(part.amount, rest)
    rest = rest - kept
    buckets.give_back(book, part, kept)
    local difference = kept - (before[part.bucket] or 0)
    ledger.entry(book, difference > 0 and "USAGE" or "REFUND", part.bucket, -difference)
    if kept > 0 then
      charged[#charged + 1] = { bucket = part.bucket, amount = kept }
    end
  end
  local difference = rest - before_written_off
  ledger.entry(book, difference > 0 and "USAGE" or "REFUND", OVERDRAFT, -difference)
  ledger.entry(book, "WRITE_OFF", OVERDRAFT, difference)
  return charged, rest
end

local function append(book, id, event_id, outcome, facts, cost, written_off, used)
  local told = {
    "reservation", id, "outcome", outcome, "operation", facts.operation, "model", facts.model, "route", facts.route,
    "key", facts.key, "price_version", facts.price_version, "day", facts.local_day,
    "input", used.input, "cached", used.cached, "cache_write", used.cache_write, "output", used.output,
    "reasoning", used.reasoning, "estimated", used.estimated, "status", used.status,
    "cost", cost, "written_off", written_off, "started_at", facts.opened_at,
    "audio_ms", used.audio_ms, "images", used.images,
    -- A correction has no hold: the event of the expiry has told of it.
    "held", facts.amount or 0, "first_held", facts.first_amount or 0,
  }
  if facts.shadow then
    told[#told + 1], told[#told + 2] = "shadow", facts.shadow
  end
  if facts.session then
    told[#told + 1], told[#told + 2] = "session", facts.session
  end
  if facts.route == "" then -- The API's: proxied calls have none of these, and do not pay for asking.
    local said = redis.call("HMGET", keys.hold(book.k, id), "purpose", "metadata")
    if said[1] then
      told[#told + 1], told[#told + 2] = "purpose", said[1]
      told[#told + 1], told[#told + 2] = "metadata", said[2]
    end
  end
  ledger.append(book, "usage", event_id, told)
end

-- The fields of the account's hash that hold states of the policies a reservation was admitted to.
-- found: its hold, or how it ended; nil for neither.
function settlement.fields(found)
  return found and admitted.fields(found.rates)
end

-- What a call weighs for its policies, now that it is known.
local function weights(cost, used)
  return { input = used.input, output = used.output, tokens = used.input + used.output, cost = cost }
end

-- Ends an open hold. outcome: "settled" | "released" | "expired". used: input, cached, cache_write, output,
-- reasoning (tokens), estimated (0 or 1), status (HTTP status of the answer, 0 without one), audio_ms, images.
-- Returns what was charged, what was written off, and what the account has left.
function settlement.close(book, id, hold, outcome, cost, used, remember_ms)
  local a = book.account
  local charged, written_off = spend(book, hold.order, hold.parts, cost, {}, 0)
  a.used_tokens = a.used_tokens + used.input + used.output
  buckets.save(book)
  admitted.correct(book, hold.rates, weights(cost, used))
  account.write(book.k.account, a, book.now_ms)
  append(book, id, id, outcome == "expired" and "lost" or outcome, hold, cost, written_off, used)
  admitted.free_slots(book.k, hold.slots, id)
  local left = account.left(a)
  local fields = { "how", outcome, "request", hold.request, "cost", cost, "charged", cost - written_off,
    "written_off", written_off, "left", left }
  if outcome == "expired" then
    -- The gateway may only have been slow: what a late settlement needs is kept.
    for _, field in ipairs({ "parts", holds.text(charged), "order", hold.order, "operation", hold.operation,
      "model", hold.model, "route", hold.route, "key", hold.key, "price_version", hold.price_version,
      "rates", admitted.text(hold.rates), "local_day", hold.local_day, "opened_at", hold.opened_at,
      "input", used.input, "output", used.output }) do
      fields[#fields + 1] = field
    end
    if hold.session then
      fields[#fields + 1], fields[#fields + 2] = "session", hold.session
    end
  end
  holds.finish(book.k, id, remember_ms, fields)
  return cost - written_off, written_off, left
end

-- Corrects a hold that expired before its call ended: afterwards the account stands as if it had ended in time, as
-- `how`: "settled" | "released".
-- The event carries the differences, so that sums over events stay true.
function settlement.correct(book, id, done, how, cost, used, remember_ms)
  local a = book.account
  local parts = holds.parts(done.parts)
  local before = {}
  for _, part in ipairs(parts) do
    before[part.bucket] = part.amount
    buckets.hold_again(book, part)
  end
  local _, written_off = spend(book, done.order, parts, cost, before, tonumber(done.written_off))
  a.used_tokens = a.used_tokens + used.input + used.output - done.input - done.output
  buckets.save(book)
  admitted.correct(book, done.rates, weights(cost, used))
  account.write(book.k.account, a, book.now_ms)
  changes.note(book.k)
  used.input, used.output = used.input - done.input, used.output - done.output
  append(book, id, id .. ":late", "corrected", done, cost - done.cost, written_off - done.written_off, used)
  local left = account.left(a)
  holds.finish(book.k, id, remember_ms, { "how", how, "request", done.request, "cost", cost,
    "charged", cost - written_off, "written_off", written_off, "left", left })
  return cost - written_off, written_off, left
end

return settlement
