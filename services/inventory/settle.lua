-- Ends reservations of an order: 'release' makes their units free again, 'dispatch' lets them leave the warehouse.
-- KEYS: levels, order. ARGV: request id, at_ms, retention_ms of an order with nothing open, 'release' or 'dispatch',
-- for a release 'named' or 'all', then the named reservation ids. Returns the movement as JSON.
local request, at_ms, retention_ms, action, scope = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local stored = redis.call('HMGET', KEYS[2], 'movement:' .. request, 'open', 'dispatched')
if stored[1] then return stored[1] end

-- Which open reservations end, which stay, and which are refused from now on.
local open, ended, kept, revoked = split(stored[2]), {}, {}, {}
local named = {}
for i = 6, #ARGV do
  named[ARGV[i]] = true
  revoked[#revoked + 1] = ARGV[i]
end
for i = 1, #open do
  local ends
  if action == 'dispatch' then
    ends = i == #open and not stored[3]
  else
    ends = scope == 'all' or named[open[i]]
  end
  if ends then ended[#ended + 1] = open[i] else kept[#kept + 1] = open[i] end
  if ends and scope == 'all' then revoked[#revoked + 1] = open[i] end
end

-- Their lines, summed per sku and warehouse.
local lines, line_of, skus, sku_of = {}, {}, {}, {}
for i = 1, #ended do
  local reserved = cjson.decode(redis.call('HGET', KEYS[2], 'movement:' .. ended[i])).lines
  for j = 1, #reserved do
    local sku, warehouse, quantity = reserved[j][1], reserved[j][2], reserved[j][3]
    local name = sku .. '/' .. warehouse
    if line_of[name] then
      line_of[name][3] = line_of[name][3] + quantity
    else
      line_of[name] = { sku, warehouse, quantity }
      lines[#lines + 1] = line_of[name]
    end
    if not sku_of[sku] then
      skus[#skus + 1] = sku
      sku_of[sku] = #skus
    end
  end
end

local levels, dirty, changes = load_levels(KEYS[1], skus), {}, {}
local goes_to = action == 'dispatch' and DISPATCHED or ON_HAND
for i = 1, #lines do
  local sku, warehouse, quantity = lines[i][1], lines[i][2], lines[i][3]
  local level = levels[sku_of[sku]]
  local at = warehouse_at(level, warehouse)
  level[at + RESERVED] = level[at + RESERVED] - quantity
  level[at + goes_to] = level[at + goes_to] + quantity
  level[at + REVISION] = level[at + REVISION] + 1
  dirty[sku_of[sku]] = true
  changes[i] = change_of(sku, level, at)
end

save_levels(KEYS[1], skus, levels, dirty)
local answer = movement(at_ms, lines, {}, changes)
redis.call('HSET', KEYS[2], 'movement:' .. request, answer, 'open', table.concat(kept, ' '))
for i = 1, #revoked do redis.call('HSET', KEYS[2], 'revoked:' .. revoked[i], at_ms) end
if action == 'dispatch' and #ended > 0 then
  redis.call('HSET', KEYS[2], 'dispatched', ended[1])
  redis.call('HDEL', KEYS[2], 'early')
end
-- A dispatch that finds no reservation may be earlier than it: the next one leaves at once (decision 0036).
if action == 'dispatch' and #ended == 0 and not stored[3] then redis.call('HSET', KEYS[2], 'early', at_ms) end
if #kept == 0 then redis.call('PEXPIRE', KEYS[2], retention_ms) end
return answer
