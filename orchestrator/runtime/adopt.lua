-- A person's decision about a shard's position, taken only if the shard is where it was when the person decided.
--
-- KEYS  1: cp:{p}:offset   2: cp:{p}:ahead
-- ARGV  1: expected next offset ('' if there must be none)   2: next ('': none)   3: record id   4: checkpoint id
--       5: semantics
-- Returns 1, or 0 if the shard is somewhere else.

if (redis.call('HGET', KEYS[1], 'next') or '') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
if ARGV[1] ~= ARGV[2] then
  redis.call('DEL', KEYS[2])
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'next', ARGV[2], 'record_id', ARGV[3], 'checkpoint_id', ARGV[4], 'semantics', ARGV[5])
end
return 1
