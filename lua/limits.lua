-- limits: how far an account's policies are used, without counting anything. Writes nothing.
--
-- KEYS  1 account
-- ARGV  1 id           any word; the reply echoes it    2 now_ms ("" for the server's clock)
--       3 key   4 ip   5 team   6 organisation   7 model   8 operation   9 route   whom and what they count, "" for none
--      10.. policies, 7 words each: name measure mode by steps step_ms room
-- Replies  {"limits", id, states}    states: as in the reply of `reserve`
-- Events   none
local clock = require("lib.clock")
local keys = require("lib.keys")
local account = require("lib.account")
local policies = require("lib.policies")

local now_ms = clock.read(ARGV[2])
local k = keys.of(KEYS[1])
local who = { key = ARGV[3], ip = ARGV[4], team = ARGV[5], organisation = ARGV[6], model = ARGV[7], operation = ARGV[8],
  route = ARGV[9], account = k.id }
local a = account.read(KEYS[1], policies.fields(ARGV, 10)) or account.fresh("", "")
local met = policies.read(ARGV, 10, who, a.override, now_ms)
policies.look(k, met, { input = 0, output = 0, tokens = 0, cost = 0, requests = 0, concurrent = 0 }, a, now_ms)
return { "limits", ARGV[1], policies.states(met, tonumber(ARGV[10])) }
