-- Makes the timers and indexes of one process agree with its state, if that is still the one they were derived from.
--
-- KEYS  1: cp:{p}:process:<id>   2: cp:{p}:timers   3..: indexes
-- ARGV  1: the state   2: process id   3: updated at (ms)   4: of the keys from 3 on, so many are set, the rest unset
--       5..: operations on timers: z member due | x member
-- Returns 1, or 0 if the process has another state now (nothing is changed).

if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
local set = tonumber(ARGV[4])
for i = 3, #KEYS do
  if i - 2 <= set then
    redis.call('ZADD', KEYS[i], ARGV[3], ARGV[2])
  else
    redis.call('ZREM', KEYS[i], ARGV[2])
  end
end
local i = 5
while i <= #ARGV do
  if ARGV[i] == 'z' then
    redis.call('ZADD', KEYS[2], ARGV[i + 2], ARGV[i + 1])
    i = i + 3
  else
    redis.call('ZREM', KEYS[2], ARGV[i + 1])
    i = i + 2
  end
end
return 1
