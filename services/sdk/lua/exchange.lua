-- One step of a service's inbox: settlements, then claims, whole or not at all.
-- KEYS: owners, positions, then a record for each settlement, and for each claim its record and those it revokes.
-- ARGV: owner, session, number, milliseconds to keep a record, msgpack of {positions, settlements, claims}.
-- A record is: state (1), fence (24), fingerprint (32), executions (4), outcomes (the rest).
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

local function write(key, state, fence, fingerprint, executions, outcomes)
  redis.call('SET', key, state .. fence .. fingerprint .. string.format('%04d', executions) .. outcomes, 'PX', keep_ms)
end

redis.call('HSET', KEYS[1], owner, session .. ':' .. number)
for _, position in ipairs(positions) do
  redis.call('HSET', KEYS[2], position[1], position[3] .. ':' .. session)
end

local key = 2
local stored, answers = {}, {}
for i, s in ipairs(settlements) do
  key = key + 1
  local fence, fingerprint, state, outcomes = s[1], s[2], s[3], s[4]
  local record = redis.call('GET', KEYS[key])
  if record and string.sub(record, 2, 25) == fence then
    write(KEYS[key], state, fence, fingerprint, tonumber(string.sub(record, 58, 61)), outcomes)
    stored[i] = 1
  else
    stored[i] = 0
  end
end

local function revoke(from, count, fence)
  for at = from, from + count - 1 do
    redis.call('SET', KEYS[at], 'r' .. fence .. string.rep('-', 32) .. '0000', 'PX', keep_ms, 'NX')
  end
end

for i, c in ipairs(claims) do
  key = key + 1
  local name, revokes_from = KEYS[key], key + 1
  local fence, fingerprint, replayed, refusal, revokes = c[1], c[2], c[3], c[4], c[5]
  key = key + revokes
  local record = redis.call('GET', name)
  local state = record and string.sub(record, 1, 1)
  local held = record and string.sub(record, 2, 25)
  local answer
  if not record then
    if refusal then
      write(name, 's', fence, fingerprint, 0, refusal)
      answer = {'f', fence, ''}
    else
      write(name, 'b', fence, fingerprint, 1, '')
      revoke(revokes_from, revokes, fence)
      answer = {'n', fence, ''}
    end
  elseif state == 'r' then
    redis.call('PEXPIRE', name, keep_ms)
    answer = {'r', held, ''}
  elseif string.sub(record, 26, 57) ~= fingerprint then
    answer = {'c', held, ''}
  elseif held == fence then
    -- This very step ran before and its reply was lost: the same answer again.
    local executions = tonumber(string.sub(record, 58, 61))
    answer = {state == 's' and 'f' or (executions > 1 and 'u' or 'n'), fence, ''}
  elseif state == 'b' or (state == 'd' and replayed == 1) then
    write(name, 'b', fence, fingerprint, math.min(9999, tonumber(string.sub(record, 58, 61)) + 1), '')
    revoke(revokes_from, revokes, fence)
    answer = {'u', fence, ''}
  else
    redis.call('PEXPIRE', name, keep_ms)
    answer = {'s', held, string.sub(record, 62)}
  end
  answers[i] = answer
end
return {1, stored, answers}
