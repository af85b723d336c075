-- Gateways believe that an account which was denied stays denied until its reset, unless something has changed: an
-- account of the partition may have more than before, or be treated otherwise. They look at this counter for it.
local changes = {}

function changes.note(k)
  redis.call("HINCRBY", k.prefix .. "changes", "version", 1)
end

return changes
