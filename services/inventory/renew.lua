-- After the store went back in time: raises revisions above all that may have been announced (decision 0015).
-- KEYS: levels, floor. ARGV: at_ms, the floor, then skus. Returns their levels as the changes of a movement.
local floor = math.max(tonumber(ARGV[2]), tonumber(redis.call('GET', KEYS[2]) or 1))
redis.call('SET', KEYS[2], string.format('%.0f', floor))

local skus = {}
for i = 3, #ARGV do skus[#skus + 1] = ARGV[i] end
local levels, dirty, changes = load_levels(KEYS[1], skus), {}, {}
for i = 1, #skus do
  for at = 1, levels[i] and #levels[i] or 0, STRIDE do
    levels[i][at + REVISION] = math.max(levels[i][at + REVISION] + 1, floor)
    changes[#changes + 1] = change_of(skus[i], levels[i], at)
    dirty[i] = true
  end
end
save_levels(KEYS[1], skus, levels, dirty)
return movement(ARGV[1], {}, {}, changes)
