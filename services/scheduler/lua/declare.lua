-- Replace what is declared. KEYS: lease, declared. ARGV: "<fence> <holder>", then id and JSON of each schedule.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1]) end
return 1
