-- Reads some processes of one shard together with the shard's stored position, in one step.
--
-- KEYS  1: cp:{p}:offset   2..: cp:{p}:process:<id>
-- Returns { next offset or false, blob or false, ... }

local found = { redis.call('HGET', KEYS[1], 'next') }
local page = 1000 -- unpack fails near 8,000 items
for first = 2, #KEYS, page do
  local last = math.min(first + page - 1, #KEYS)
  local blobs = redis.call('MGET', unpack(KEYS, first, last))
  for i = 1, #blobs do
    found[#found + 1] = blobs[i]
  end
end
return found
