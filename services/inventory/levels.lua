-- Levels: one hash, field = sku, value = a JSON array with five entries per warehouse:
-- name, on_hand, reserved, dispatched, revision. Runs before each of the other scripts (one source with them).
local STRIDE = 5
local ON_HAND, RESERVED, DISPATCHED, REVISION = 1, 2, 3, 4 -- offsets from the name
local BATCH = 1000 -- unpack fails near 8,000 items

local function load_levels(key, skus)
  local levels = {}
  for first = 1, #skus, BATCH do
    local last = math.min(first + BATCH - 1, #skus)
    local found = redis.call('HMGET', key, unpack(skus, first, last))
    for i = first, last do
      local raw = found[i - first + 1]
      levels[i] = raw and cjson.decode(raw) or false
    end
  end
  return levels
end

local function save_levels(key, skus, levels, dirty)
  local pairs_ = {}
  for i = 1, #skus do
    if dirty[i] then
      pairs_[#pairs_ + 1] = skus[i]
      pairs_[#pairs_ + 1] = cjson.encode(levels[i])
    end
  end
  for first = 1, #pairs_, BATCH do
    redis.call('HSET', key, unpack(pairs_, first, math.min(first + BATCH - 1, #pairs_)))
  end
end

-- The change of one warehouse as it is stored and published: sku, warehouse, on_hand, reserved, revision.
local function change_of(sku, level, at)
  return { sku, level[at], level[at + ON_HAND], level[at + RESERVED], level[at + REVISION] }
end

local function warehouse_at(level, name)
  for at = 1, #level, STRIDE do
    if level[at] == name then return at end
  end
end

-- Empty arrays are left out: cjson would write them as objects.
local function movement(at_ms, lines, shortages, changes)
  return cjson.encode({
    at = tonumber(at_ms),
    lines = #lines > 0 and lines or nil,
    shortages = #shortages > 0 and shortages or nil,
    changes = #changes > 0 and changes or nil,
  })
end

-- An order's open reservations, oldest first, are one field: ids joined with spaces.
local function split(text)
  local parts = {}
  for part in string.gmatch(text or '', '%S+') do parts[#parts + 1] = part end
  return parts
end
