-- Puts a part of a shard back, while its restorer still is the one that may.
--
-- KEYS  1: cp:{p}:offset   2: cp:{p}:cut   3: cp:{p}:timers   4: cp:{p}:sagas   5: cp:{p}:marks   6: cp:{p}:ahead
--       7: cp:{p}:gone   8..: processes, histories and indexes of the same slot
-- ARGV  1: the restorer's token
--       2..: operations, each as
--              b                          begin: the token is ours from now on
--              d key                      away with it
--              s key value                a process' blob
--              n key count                fail unless the history has so many entries
--              t key count                cut the history to so many entries, fail if it has fewer
--              h key entry                one history entry
--              z score member             a timer
--              i key score member         an index
--              g member                   a saga's name
--              m member mark              what the topic has of a process
--              a score member             a process that is ahead of the cut
--              o score member             a process that is gone
--              f next id checkpoint sem   the shard is whole
-- Returns 'done', 'stale' or 'short'. What a failed call has written belongs to a restore that is then begun anew.

local call = redis.call
if call('HEXISTS', KEYS[1], 'next') == 1 then
  return 'stale'
end
if ARGV[2] ~= 'b' and call('HGET', KEYS[2], 'restoring') ~= ARGV[1] then
  return 'stale'
end
local i, last = 2, #ARGV
while i <= last do
  local operation, one, two, three = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if operation == 'b' then
    call('DEL', KEYS[2])
    call('HSET', KEYS[2], 'restoring', ARGV[1])
    i = i + 1
  elseif operation == 'd' then
    call('UNLINK', KEYS[tonumber(one)])
    i = i + 2
  elseif operation == 's' then
    call('SET', KEYS[tonumber(one)], two)
    i = i + 3
  elseif operation == 'n' then
    if call('LLEN', KEYS[tonumber(one)]) ~= tonumber(two) then
      return 'short'
    end
    i = i + 3
  elseif operation == 't' then
    local key, count = KEYS[tonumber(one)], tonumber(two)
    if call('LLEN', key) < count then
      return 'short'
    elseif count == 0 then
      call('UNLINK', key)
    else
      call('LTRIM', key, 0, count - 1)
    end
    i = i + 3
  elseif operation == 'h' then
    call('RPUSH', KEYS[tonumber(one)], two)
    i = i + 3
  elseif operation == 'z' then
    call('ZADD', KEYS[3], one, two)
    i = i + 3
  elseif operation == 'i' then
    call('ZADD', KEYS[tonumber(one)], two, three)
    i = i + 4
  elseif operation == 'g' then
    call('SADD', KEYS[4], one)
    i = i + 2
  elseif operation == 'm' then
    call('HSET', KEYS[5], one, two)
    i = i + 3
  elseif operation == 'a' then
    call('ZADD', KEYS[6], one, two)
    i = i + 3
  elseif operation == 'o' then
    call('ZADD', KEYS[7], one, two)
    i = i + 3
  else
    call('HSET', KEYS[1], 'next', one, 'record_id', two, 'checkpoint_id', three, 'semantics', ARGV[i + 4])
    call('HDEL', KEYS[2], 'restoring')
    call('HSET', KEYS[2], 'offset', one, 'complete', 1)
    i = i + 5
  end
end
return 'done'
