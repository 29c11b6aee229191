-- Give the lease up, if it is still the holder's. KEYS: lease. ARGV: "<fence> <holder>".
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
