-- Notes snapshots that the log has acknowledged.
--
-- KEYS  1: cp:{p}:offset   2: cp:{p}:uncovered   3: cp:{p}:marks   4: cp:{p}:gone   5..: the processes
-- ARGV  for each process: id, SHA-1 of the state in its snapshot ('' for none), the snapshot's next offset, its mark

local call = redis.call
if call('HEXISTS', KEYS[1], 'next') == 0 then
  return 0
end
for n = 5, #KEYS do
  local first = (n - 5) * 4
  local id, sha, after, mark = ARGV[first + 1], ARGV[first + 2], tonumber(ARGV[first + 3]), ARGV[first + 4]
  local known = call('HGET', KEYS[3], id)
  if known and tonumber(string.match(known, '^%d+')) > after then
    -- an owner of before has replaced a later snapshot: the process needs another one
    local from = call('ZSCORE', KEYS[2], id)
    if not from or tonumber(from) > after then
      call('ZADD', KEYS[2], after, id)
    end
  else
    call('HSET', KEYS[3], id, mark)
    local blob = call('GET', KEYS[n])
    if (blob and redis.sha1hex(blob) or '') == sha then
      call('ZREM', KEYS[2], id)
    else
      call('ZADD', KEYS[2], after, id)
    end
    if not blob and sha == '' then
      call('ZADD', KEYS[4], after, id)
    else
      call('ZREM', KEYS[4], id)
    end
  end
end
return #KEYS - 4
