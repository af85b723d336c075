-- inspect: an account, its buckets and its open holds in one reading, to be compared with the ledger. Writes nothing.
--
-- KEYS  1 account
-- ARGV  1 id   any word; the reply echoes it    2 now_ms ("" for the server's clock)
--       3.. holds, 1 words each: hold           ids of holds that may be the account's
-- Replies  {"snapshot", id, now_ms, stamp, last, account, periods, credits, order, grants, open}
--          stamp: for `restore`, which writes nothing once it is another one; "absent" without such an account
--          last: the id of the last event that the partition's stream was given
--          account, credits, grants: alternating names and values; order: members and scores of the burn order
--          periods: alternating kinds and what stands in the one opened last, empty when its key is gone
--          open: its open holds, each its id, the end of its lease ("" without one), its names and values
-- Events   none
local clock = require("lib.clock")
local keys = require("lib.keys")
local lists = require("lib.lists")
local snapshot = require("lib.snapshot")

local now_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local known = lists.words(ARGV, 3)

local last = "0-0"
if redis.call("EXISTS", k.events) == 1 then
  local told = redis.call("XINFO", "STREAM", k.events)
  for i = 1, #told, 2 do
    if told[i] == "last-generated-id" then
      last = told[i + 1]
    end
  end
end
local taken, stamp = snapshot.take(k, known)
return { "snapshot", ARGV[1], now_ms, stamp, last, taken.account, taken.periods, taken.credits, taken.order,
  taken.grants, taken.holds }
