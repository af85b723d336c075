-- Lists among the arguments of a script: their number first, then the words of each item.
local lists = {}

-- The list that begins at argv[at], `width` words an item. Returns a table of tables, and the index after it.
function lists.read(argv, at, width)
  local items, count = {}, tonumber(argv[at])
  for n = 1, count do
    local item = {}
    for word = 1, width do
      item[word] = argv[at + (n - 1) * width + word]
    end
    items[n] = item
  end
  return items, at + 1 + count * width
end

-- The same for a list of single words. Returns a table of words, and the index after it.
function lists.words(argv, at)
  local words, count = {}, tonumber(argv[at])
  for n = 1, count do
    words[n] = argv[at + n]
  end
  return words, at + 1 + count
end

return lists
