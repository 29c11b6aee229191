-- Move a schedule on. KEYS: lease, state. ARGV: "<fence> <holder>", expected position ('' for a new one), position,
-- definition, due time of the latest tick, number of ticks.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
if (redis.call('HGET', KEYS[2], 'position') or '') ~= ARGV[2] then return 'moved' end
redis.call('HSET', KEYS[2], 'position', ARGV[3], 'definition', ARGV[4])
if ARGV[6] ~= '0' then
  redis.call('HSET', KEYS[2], 'fired_at', ARGV[5])
  redis.call('HINCRBY', KEYS[2], 'fired', ARGV[6])
end
return 'done'
