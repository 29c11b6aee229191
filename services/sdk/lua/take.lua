-- Makes a session the owner of partitions. KEYS: owners, positions. ARGV: owner, session, then field and offset pairs.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':0')
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1] .. ':' .. ARGV[2])
end
return 1
