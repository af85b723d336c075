-- Buckets: the allowances of periods, and credits. Nothing here writes before `take`, `give_back` or `save`.
-- A part is {bucket = "day:2026-11-20" | "week:2026-W47" | "credits:GRANT" …, amount = units}: what a hold took from
-- where. A book is the working state of one decision: see `buckets.book`.
local account = require("lib.account")
local keys = require("lib.keys")
local ledger = require("lib.ledger")

local buckets = {}

-- Scores of the burn order: priority first, then soonest expiry; members begin with the grant's age.
local NEVER_S = 9999999999
local PRIORITY = 10000000000

local function score(priority, expires_s)
  if expires_s == 0 then
    expires_s = NEVER_S
  end
  return priority * PRIORITY + expires_s
end

-- The expiry in a score, in seconds; NEVER_S for never.
local function expiry(score)
  return tonumber(score) % PRIORITY
end

-- Lets the account know of a grant that will lapse.
local function note_expiry(a, expires_s)
  local at_ms = expires_s * 1000
  if expires_s > 0 and (a.next_expiry == 0 or at_ms < a.next_expiry) then
    account.set(a, "next_expiry", at_ms)
  end
end

local function member(granted_at_ms, grant_id)
  return string.format("%013.0f/%s", granted_at_ms, grant_id)
end

-- Sets what a grant has left, in its place in the burn order. For those who bring back what stood there before.
function buckets.put_left(k, grant_id, left, priority, expires_s, granted_at_ms)
  redis.call("HSET", k.credits, grant_id, left)
  redis.call("ZADD", k.order, score(priority, expires_s), member(granted_at_ms, grant_id))
end

-- What a bucket still had when it lapsed: it is the account's no more.
local function write_off_rest(book, bucket, rest)
  ledger.entry(book, "EXPIRY", bucket, -rest)
  account.set(book.account, "granted", book.account.granted - rest)
end

-- A period that has ended, or whose key was deleted by hand. Its rest stays known to the one that opens next.
local function lapse_period(book, kind)
  local a = book.account
  local rest = a[kind .. "_left"]
  if rest > 0 then
    write_off_rest(book, kind .. ":" .. a[kind], rest)
    account.set(a, kind .. "_left", 0)
    account.set(a, kind .. "_rest", rest)
  end
end

-- Grants past their expiry. Their order is by priority first, so all are looked at; but only when one may have lapsed.
local function lapse_grants(book)
  local a = book.account
  account.set(a, "next_expiry", 0)
  local members = redis.call("ZRANGE", book.k.order, 0, -1, "WITHSCORES")
  for i = 1, #members, 2 do
    local expires_s = expiry(members[i + 1])
    if expires_s * 1000 <= book.now_ms then
      local grant_id = string.match(members[i], "/(.+)$")
      write_off_rest(book, "credits:" .. grant_id, tonumber(redis.call("HGET", book.k.credits, grant_id) or "0"))
      book.lapsed_grants[#book.lapsed_grants + 1] = { id = grant_id, member = members[i] }
    elseif expires_s < NEVER_S then
      note_expiry(a, expires_s)
    end
  end
end

-- The working state of one decision: k (keys), now_ms, skew_ms, account, entries (for the ledger), periods (the ones
-- that are running, by kind), and what has lapsed since the last decision, which is no longer in the account's totals.
-- All of it is only planned: `save` and `account.write` write it.
function buckets.book(k, now_ms, skew_ms, a)
  local book = { k = k, now_ms = now_ms, skew_ms = skew_ms, account = a, entries = {}, periods = {}, lapsed_grants = {} }
  for _, kind in ipairs(account.PERIODS) do
    local id = a[kind]
    if id then
      local ends_ms = a[kind .. "_ends"]
      local key = now_ms < ends_ms and keys.period(k, kind, id)
      local v = key and redis.call("HMGET", key, "left", "held")
      if v and v[1] then
        book.periods[kind] = {
          kind = kind, id = id, key = key, left = tonumber(v[1]), held = tonumber(v[2]), ends_ms = ends_ms,
        }
      else
        lapse_period(book, kind)
      end
    end
  end
  if a.next_expiry > 0 and now_ms >= a.next_expiry then
    lapse_grants(book)
  end
  return book
end

-- The sign-up grant of a new account, in its place in the burn order. Planned; `take` and `save` write.
function buckets.sign_up(book, amount)
  if amount > 0 then
    ledger.entry(book, "SIGNUP", "credits:signup", amount)
    account.set(book.account, "granted", book.account.granted + amount)
    book.new_grant = { id = "signup", amount = amount, priority = 0, expires_s = 0 }
  end
end

-- Appends to parts what `need` units take from the account's credits. Returns what they could not cover.
local function plan_credits(book, parts, need)
  if book.new_grant then
    local amount = math.min(need, book.new_grant.amount)
    if amount > 0 then
      parts[#parts + 1] = { bucket = "credits:" .. book.new_grant.id, amount = amount }
    end
    return need - amount
  end
  local from = 0
  while need > 0 do
    local members = redis.call("ZRANGE", book.k.order, from, from + 3, "WITHSCORES")
    if #members == 0 then
      return need
    end
    for i = 1, #members, 2 do
      local grant_id = string.match(members[i], "/(.+)$")
      local left = tonumber(redis.call("HGET", book.k.credits, grant_id) or "0")
      if expiry(members[i + 1]) * 1000 <= book.now_ms then
        left = 0 -- It has lapsed.
      end
      local amount = math.min(need, left)
      if amount > 0 then
        parts[#parts + 1] = { bucket = "credits:" .. grant_id, amount = amount, left = left - amount, member = members[i] }
        need = need - amount
      end
      if need == 0 then
        return 0
      end
    end
    from = from + 4
  end
  return need
end

-- What the account's credits will have left at an instant to come, when no call takes any.
function buckets.credits_at(book, at_ms)
  if book.new_grant then
    return book.new_grant.amount
  end
  local left = 0
  local members = redis.call("ZRANGE", book.k.order, 0, -1, "WITHSCORES")
  for i = 1, #members, 2 do
    if expiry(members[i + 1]) * 1000 > at_ms then
      left = left + tonumber(redis.call("HGET", book.k.credits, string.match(members[i], "/(.+)$")) or "0")
    end
  end
  return left
end

-- What `need` units would take, in burn order ("hour day week month credits" or the tier's own). Writes nothing.
-- Returns the parts and what they could not cover.
function buckets.plan(book, order, need)
  local parts = {}
  for kind in string.gmatch(order, "%a+") do
    if need == 0 then
      break
    end
    if kind == "credits" then
      need = plan_credits(book, parts, need)
    else
      local period = book.periods[kind]
      local amount = period and math.min(need, period.left) or 0
      if amount > 0 then
        parts[#parts + 1] = { bucket = kind .. ":" .. period.id, amount = amount }
        need = need - amount
      end
    end
  end
  return parts, need
end

local function split(bucket)
  return string.match(bucket, "^(%a+):(.+)$")
end

-- The running period a part came from, or nil when it was credits or its period has ended.
local function period_of(book, kind, id)
  local period = book.periods[kind]
  return period and period.id == id and period or nil
end

local function set_period(book, period, left, held)
  period.left, period.held, period.changed = left, held, true
  account.set(book.account, period.kind .. "_left", left)
end

-- Moves planned parts from left to held.
function buckets.take(book, parts)
  for _, part in ipairs(parts) do
    local kind, id = split(part.bucket)
    if kind ~= "credits" then
      local period = period_of(book, kind, id)
      set_period(book, period, period.left - part.amount, period.held + part.amount)
    elseif book.new_grant then
      book.new_grant.taken = part.amount
    elseif part.left > 0 then
      redis.call("HSET", book.k.credits, id, part.left)
    else
      redis.call("HDEL", book.k.credits, id)
      redis.call("ZREM", book.k.order, part.member)
    end
    book.account.held = book.account.held + part.amount
  end
end

-- Puts credits into the hash and the burn order.
local function put_credits(book, grant_id, amount, priority, expires_s, granted_at_ms)
  note_expiry(book.account, expires_s)
  if redis.call("HINCRBY", book.k.credits, grant_id, amount) == amount then
    redis.call("ZADD", book.k.order, score(priority, expires_s), member(granted_at_ms, grant_id))
  end
end

-- Writes a grant's record, which stays for good: the answer to every repeat of it. `taken` is held at once.
function buckets.put_grant(book, grant)
  local left = grant.amount - (grant.taken or 0)
  redis.call("HSET", book.k.grants, grant.id, string.format("amount=%.0f priority=%.0f expires_at=%.0f granted_at=%.0f",
    grant.amount, grant.priority, grant.expires_s, book.now_ms))
  if left > 0 then
    put_credits(book, grant.id, left, grant.priority, grant.expires_s, book.now_ms)
  end
end

-- Ends a grant whose record is given: it takes nothing back from now on. What it has left is the account's no more.
-- Returns that; 0 when it had lapsed. kind: the ledger's word for it.
function buckets.void(book, grant_id, record, kind)
  local units = tonumber(redis.call("HGET", book.k.credits, grant_id) or "0")
  for _, grant in ipairs(book.lapsed_grants) do
    if grant.id == grant_id then
      units = 0
    end
  end
  if units > 0 then
    redis.call("HDEL", book.k.credits, grant_id)
    redis.call("ZREM", book.k.order, member(tonumber(string.match(record, "granted_at=(%d+)")), grant_id))
    ledger.entry(book, kind, "credits:" .. grant_id, -units)
    account.set(book.account, "granted", book.account.granted - units)
  end
  redis.call("HSET", book.k.grants, grant_id, string.format("%s voided=%.0f", record, units))
  return units
end

local function return_credits(book, grant_id, amount)
  local record = redis.call("HGET", book.k.grants, grant_id) or ""
  local priority, expires_s, granted_at_ms = string.match(record, "priority=(%d+) expires_at=(%d+) granted_at=(%d+)$")
  -- Of one that was voided the record goes on.
  if not priority or (tonumber(expires_s) > 0 and tonumber(expires_s) * 1000 <= book.now_ms) then
    return false
  end
  put_credits(book, grant_id, amount, tonumber(priority), tonumber(expires_s), tonumber(granted_at_ms))
  return true
end

-- Ends the hold on one part: `kept` units are spent, the rest goes back to where it came from.
-- A bucket whose period ended takes nothing back: the rest expires with it.
function buckets.give_back(book, part, kept)
  local a, back = book.account, part.amount - kept
  local kind, id = split(part.bucket)
  a.held = a.held - part.amount
  a.spent = a.spent + kept
  local period = kind ~= "credits" and period_of(book, kind, id) or nil
  if period then
    -- Of holds made before its key was deleted by hand, a period does not know.
    set_period(book, period, period.left + back, math.max(0, period.held - part.amount))
  elseif back > 0 and not (kind == "credits" and return_credits(book, id, back)) then
    write_off_rest(book, part.bucket, back)
  end
end

-- Spends planned parts at once, without a hold that lasts.
function buckets.spend(book, parts)
  buckets.take(book, parts)
  for _, part in ipairs(parts) do
    buckets.give_back(book, part, part.amount)
  end
end

-- Takes planned parts from the account for good: they are not spent, it never had them. kind: the ledger's word.
function buckets.remove(book, parts, kind)
  local a = book.account
  buckets.spend(book, parts)
  for _, part in ipairs(parts) do
    a.spent = a.spent - part.amount
    account.set(a, "granted", a.granted - part.amount)
    ledger.entry(book, kind, part.bucket, -part.amount)
  end
end

-- The other way round: units that were spent are held again, for a correction.
function buckets.hold_again(book, part)
  local kind, id = split(part.bucket)
  book.account.spent = book.account.spent - part.amount
  book.account.held = book.account.held + part.amount
  local period = kind ~= "credits" and period_of(book, kind, id) or nil
  if period then
    set_period(book, period, period.left, period.held + part.amount)
  end
end

-- Writes what was planned and changed: periods, a new account's sign-up grant, and what has lapsed.
function buckets.save(book)
  for _, grant in ipairs(book.lapsed_grants) do
    redis.call("HDEL", book.k.credits, grant.id)
    redis.call("ZREM", book.k.order, grant.member)
  end
  for _, period in pairs(book.periods) do
    if period.opens_with then
      redis.call("HSET", period.key, "amount", period.opens_with, "left", period.left, "held", period.held,
        "ends_at", period.ends_ms)
      redis.call("PEXPIREAT", period.key, period.ends_ms + book.skew_ms)
    elseif period.changed then
      redis.call("HSET", period.key, "left", period.left, "held", period.held)
    end
  end
  if book.new_grant then
    buckets.put_grant(book, book.new_grant)
  end
end

return buckets
