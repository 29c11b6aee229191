-- Drops what is kept of one shard, if it was not written to since its keys were listed.
--
-- KEYS  1: cp:{p}:offset   2..: all other keys of the shard
-- ARGV  1: the checkpoint id that was stored when the listing began ('' if there was none)
-- Returns 1, or 0 if the shard was written to meanwhile (nothing is dropped).

if (redis.call('HGET', KEYS[1], 'checkpoint_id') or '') ~= ARGV[1] then
  return 0
end
for i = 1, #KEYS do
  redis.call('DEL', KEYS[i])
end
return 1
