-- What a person wants. KEYS: state, declared, runs, changes. ARGV: pause | resume | run, id, at (ms), run id, most runs, who
-- wants it.
local what, id, at = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HEXISTS', KEYS[2], id) == 0 or redis.call('EXISTS', KEYS[1]) == 0 then return 'unknown' end
local paused = redis.call('HEXISTS', KEYS[1], 'paused') == 1
if what == 'pause' then
  if paused then return 'nothing' end
  redis.call('HSET', KEYS[1], 'paused', '1')
elseif what == 'resume' then
  if not paused and tonumber(redis.call('HGET', KEYS[1], 'position')) <= tonumber(at) then return 'nothing' end
  redis.call('HDEL', KEYS[1], 'paused')
  redis.call('HSET', KEYS[1], 'position', at)
else
  if redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[5]) then return 'full' end
  redis.call('HSETNX', KEYS[3], id .. ' ' .. ARGV[4], at)
end
redis.call('HSET', KEYS[1], 'told', ARGV[6])
redis.call('INCR', KEYS[4])
return 'done'
