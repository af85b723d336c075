-- What one decision writes into the ledger's inbox, in the same script that moves the balance.
local ledger = {}

-- Notes one signed entry of the event to come: kind, the bucket it touches, units. Zero is no entry.
function ledger.entry(book, kind, bucket, amount)
  if amount ~= 0 then
    book.entries[#book.entries + 1] = string.format("%s %s %.0f", kind, bucket, amount)
  end
end

-- The id of the event that tells of an account opened before its first call. With the instant, as an account that was
-- deleted by hand opens once more.
function ledger.opening_id(book)
  return string.format("opened:%s@%.0f", book.k.id, book.now_ms)
end

-- Appends the event. id is unique among all events for good: it makes redelivery harmless.
-- facts: alternating names and values beside the common ones.
function ledger.append(book, kind, id, facts)
  redis.call("XADD", book.k.events, "*", "kind", kind, "id", id, "account", book.k.id, "at", book.now_ms,
    "entries", table.concat(book.entries, "; "), unpack(facts))
  book.entries = {}
end

return ledger
