-- Take the lease, or renew it. KEYS: lease ("<fence> <holder>"), fence, changes. ARGV: holder, lease in ms.
local held = redis.call('GET', KEYS[1])
local fence
if held then
  local holder
  fence, holder = string.match(held, '^(%d+) (.*)$')
  if holder ~= ARGV[1] then return {} end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  fence = redis.call('INCR', KEYS[2])
  redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[1], 'PX', ARGV[2])
end
return { tonumber(fence), tonumber(redis.call('GET', KEYS[3]) or '0') }
