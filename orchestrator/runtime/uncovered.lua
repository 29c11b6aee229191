-- The processes that no snapshot covers, with the shard's stored position, in one step.
--
-- KEYS  1: cp:{p}:offset   2: cp:{p}:uncovered
-- ARGV  1: the offset above their first uncovered input, as a bound of ZRANGEBYSCORE   2: how many
-- Returns { next offset or false, id, ... }, the lowest first

local found = { redis.call('HGET', KEYS[1], 'next') }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  found[#found + 1] = id
end
return found
