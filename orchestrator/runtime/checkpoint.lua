-- Applies one shard's checkpoint: whole or not at all, and only onto the state that its writer last saw.
--
-- KEYS  1: cp:{p}:offset   2: cp:{p}:timers   3: cp:{p}:sagas   4: cp:{p}:uncovered
--       5..: processes, histories and indexes of the same slot
-- ARGV  1: expected next offset ('' if there must be none)   2: next   3: record id   4: checkpoint id   5: semantics
--       6: kinds of the keys from 5 on, one letter each: s string, l list, z sorted set
--       7..: operations, each as
--              s key value            the process' blob
--              d key                  a process or a history is no more
--              u offset member        no snapshot covers the process from this offset on
--              h key entry            one history entry
--              z key score member     timers and indexes
--              x key member           out of timers or an index
--              g member               a saga's name
--            where key is a number into KEYS.
-- Returns 'written', 'repeated' (this checkpoint was applied before) or 'mismatch' (nothing is changed).
--
-- A Lua error does not roll back, so everything that could fail is tried first. The first write is one that Redis
-- refuses when memory is short, and Redis judges that once per script: either it refuses the first write, or none.

local offset_key = KEYS[1]
local stored = redis.call('HMGET', offset_key, 'next', 'checkpoint_id')
if stored[2] == ARGV[4] then
  return 'repeated'
end
if (stored[1] or '') ~= ARGV[1] then
  return 'mismatch'
end

local function check(key, wanted)
  local found = redis.call('TYPE', key)['ok']
  return found == 'none' or found == wanted
end

local wanted = { l = 'list', z = 'zset' }
local kinds = ARGV[6]
if not check(KEYS[2], 'zset') or not check(KEYS[3], 'set') or not check(KEYS[4], 'zset') then
  return redis.error_reply('CORRUPT the timers, sagas or uncovered processes of this shard are of another type')
end
for i = 5, #KEYS do
  local kind = wanted[string.sub(kinds, i - 4, i - 4)]
  if kind and not check(KEYS[i], kind) then
    return redis.error_reply('CORRUPT ' .. KEYS[i] .. ' is of another type')
  end
end

redis.call('HSET', offset_key,
  'next', ARGV[2], 'record_id', ARGV[3], 'checkpoint_id', ARGV[4], 'semantics', ARGV[5])
local call = redis.call
local i, last = 7, #ARGV
while i <= last do
  local operation = ARGV[i]
  if operation == 's' then
    call('SET', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    i = i + 3
  elseif operation == 'u' then
    call('ZADD', KEYS[4], 'NX', ARGV[i + 1], ARGV[i + 2])
    i = i + 3
  elseif operation == 'd' then
    call('DEL', KEYS[tonumber(ARGV[i + 1])])
    i = i + 2
  elseif operation == 'h' then
    call('RPUSH', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    i = i + 3
  elseif operation == 'z' then
    call('ZADD', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif operation == 'x' then
    call('ZREM', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    i = i + 3
  else
    call('SADD', KEYS[3], ARGV[i + 1])
    i = i + 2
  end
end
return 'written'
