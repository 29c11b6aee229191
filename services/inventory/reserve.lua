-- Reserves all demands of an order, or none. All checks first, then commands that cannot fail.
-- KEYS: levels, order, floor. ARGV: reservation id, at_ms, retention_ms of an order with nothing open, how long a dispatch that
-- came early counts (ms), openings as JSON [[warehouse, units, ...], ...], then per sku: sku, quantity, number of its
-- opening (0: it does not open).
-- Returns the movement as JSON; nil if the reservation is revoked.
local reservation, at_ms, retention_ms, early_ms, openings = ARGV[1], ARGV[2], ARGV[3], ARGV[4], cjson.decode(ARGV[5])
local stored = redis.call('HMGET', KEYS[2], 'revoked:' .. reservation, 'movement:' .. reservation, 'open', 'early')
if stored[1] then return nil end
if stored[2] then return stored[2] end

local skus = {}
for i = 6, #ARGV, 3 do skus[#skus + 1] = ARGV[i] end
local levels = load_levels(KEYS[1], skus)
local dirty, lines, shortages, changes = {}, {}, {}, {}
local places = {} -- per line: its level, and where in it

local function open_level(i, opening)
  local level = {}
  for at = 1, #opening, 2 do
    local name = #level + 1
    level[name], level[name + ON_HAND], level[name + RESERVED] = opening[at], opening[at + 1], 0
    level[name + DISPATCHED], level[name + REVISION] = 0, tonumber(redis.call('GET', KEYS[3]) or 1)
    changes[#changes + 1] = change_of(skus[i], level, name)
  end
  levels[i], dirty[i] = level, true
end

-- The warehouse with most free units, ties by name: a line is split only if no single warehouse can fill it.
local function fullest(level)
  local best
  for at = 1, #level, STRIDE do
    local more = best and level[at + ON_HAND] - level[best + ON_HAND]
    if not best or more > 0 or (more == 0 and level[at] < level[best]) then best = at end
  end
  return best
end

local function take(i, wanted)
  local level = levels[i]
  while wanted > 0 do
    local at = fullest(level)
    local taken = math.min(wanted, level[at + ON_HAND])
    level[at + ON_HAND] = level[at + ON_HAND] - taken
    level[at + RESERVED] = level[at + RESERVED] + taken
    level[at + REVISION] = level[at + REVISION] + 1
    lines[#lines + 1] = { skus[i], level[at], taken }
    places[#places + 1] = { level, at }
    changes[#changes + 1] = change_of(skus[i], level, at)
    wanted = wanted - taken
  end
  dirty[i] = true
end

for i = 1, #skus do
  local opening = tonumber(ARGV[3 * i + 5])
  if not levels[i] and opening > 0 then open_level(i, openings[opening]) end
  local available, wanted = 0, tonumber(ARGV[3 * i + 4])
  for at = 1, levels[i] and #levels[i] or 0, STRIDE do available = available + levels[i][at + ON_HAND] end
  if available < wanted then shortages[#shortages + 1] = { skus[i], wanted, available } end
end
if #shortages == 0 then
  for i = 1, #skus do take(i, tonumber(ARGV[3 * i + 4])) end
end

-- The order was dispatched before this reservation was seen: its units leave the warehouse at once.
local leaves = #shortages == 0 and stored[4] and tonumber(at_ms) - tonumber(stored[4]) <= tonumber(early_ms)
for j = 1, leaves and #lines or 0 do
  local level, at = places[j][1], places[j][2]
  level[at + RESERVED] = level[at + RESERVED] - lines[j][3]
  level[at + DISPATCHED] = level[at + DISPATCHED] + lines[j][3]
  level[at + REVISION] = level[at + REVISION] + 1
  changes[#changes + 1] = change_of(lines[j][1], level, at)
end

save_levels(KEYS[1], skus, levels, dirty)
local answer = movement(at_ms, lines, shortages, changes)
local open = stored[3] or ''
if #shortages == 0 and not leaves then open = open .. ' ' .. reservation end
redis.call('HSET', KEYS[2], 'movement:' .. reservation, answer, 'open', open)
if leaves then
  redis.call('HDEL', KEYS[2], 'early')
  redis.call('HSET', KEYS[2], 'dispatched', reservation)
end
if open == '' then redis.call('PEXPIRE', KEYS[2], retention_ms) else redis.call('PERSIST', KEYS[2]) end
return answer
