-- One step of a service's inbox: settlements, then claims, whole or not at all.
-- KEYS: owners, positions, then a record for each settlement, and for each claim its record and those it revokes.
-- ARGV: owner, session, number, milliseconds to keep a record, msgpack of {positions, settlements, claims}.
-- A record is: state (1), fence (24), fingerprint (32), executions (4), outcomes (the rest). Its first three together are
-- its head. A settlement is {head, outcomes}. A claim is the head of its started mark if it is the usual one, else
-- {head, replayed, refusal or false, number of ids it revokes}. The answer to a claim that found nothing is 'n'.
-- A Lua error would not roll back, so all checks that can refuse the step come before the first write.
local owner, session, number, keep_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local body = cmsgpack.unpack(ARGV[5])
local positions, settlements, claims = body[1], body[2], body[3]

local last = redis.call('HGET', KEYS[1], owner)
local repeated = last == session .. ':' .. number
if not repeated and last ~= session .. ':' .. (number - 1) then
  return {0, 'owner ' .. owner .. ' is at ' .. tostring(last) .. ', not at ' .. session .. ':' .. (number - 1), last or ''}
end
for _, position in ipairs(positions) do
  local expected = (repeated and position[3] or position[2]) .. ':' .. session
  local stored = redis.call('HGET', KEYS[2], position[1])
  if stored ~= expected then
    return {0, position[1] .. ' is at ' .. tostring(stored) .. ', not at ' .. expected, last or ''}
  end
end

local call, sub = redis.call, string.sub

redis.call('HSET', KEYS[1], owner, session .. ':' .. number)
for _, position in ipairs(positions) do
  redis.call('HSET', KEYS[2], position[1], position[3] .. ':' .. session)
end

local key = 2
local stored, answers = {}, {}
for i, s in ipairs(settlements) do
  key = key + 1
  local head = s[1]
  local record = call('GET', KEYS[key])
  if record and sub(record, 2, 25) == sub(head, 2, 25) then
    call('SET', KEYS[key], head .. sub(record, 58, 61) .. s[2], 'PX', keep_ms)
    stored[i] = 1
  else
    stored[i] = 0
  end
end

local function revoke(from, count, fence)
  for at = from, from + count - 1 do
    call('SET', KEYS[at], 'r' .. fence .. string.rep('-', 32) .. '0000', 'PX', keep_ms, 'NX')
  end
end

-- The answer to a claim whose id has a record.
local function found(name, head, replayed, revokes_from, revokes)
  local record, fence = call('GET', name), sub(head, 2, 25)
  local state, held, executions = sub(record, 1, 1), sub(record, 2, 25), tonumber(sub(record, 58, 61))
  if state == 'r' then
    call('PEXPIRE', name, keep_ms)
    return {'r', held, ''}
  elseif sub(record, 26, 57) ~= sub(head, 26, 57) then
    return {'c', held, ''}
  elseif held == fence then
    -- This very step ran before and its reply was lost: the same answer again.
    return state == 's' and {'f', fence, ''} or (executions > 1 and {'u', fence, ''} or 'n')
  elseif state == 'b' or (state == 'd' and replayed == 1) then
    call('SET', name, head .. string.format('%04d', math.min(9999, executions + 1)), 'PX', keep_ms)
    revoke(revokes_from, revokes, fence)
    return {'u', fence, ''}
  end
  call('PEXPIRE', name, keep_ms)
  return {'s', held, sub(record, 62)}
end

for i, c in ipairs(claims) do
  key = key + 1
  local name, revokes_from, head, replayed, refusal, revokes = KEYS[key], key + 1, c, 0, false, 0
  if type(c) == 'table' then head, replayed, refusal, revokes = c[1], c[2], c[3], c[4] end
  key = key + revokes
  local fence = sub(head, 2, 25)
  local mark = refusal and 's' .. sub(head, 2) .. '0000' .. refusal or head .. '0001'
  if not call('SET', name, mark, 'PX', keep_ms, 'NX') then
    answers[i] = found(name, head, replayed, revokes_from, revokes)
  elseif refusal then
    answers[i] = {'f', fence, ''}
  else
    revoke(revokes_from, revokes, fence)
    answers[i] = 'n'
  end
end
return {1, stored, answers}
