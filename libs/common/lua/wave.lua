-- Waves of a tape run (one server). Outputs are staged; when the count of outstanding deliveries reaches zero everything
-- staged is released at once, in (service, commit) order, or, when nothing is staged, the driver is told.
-- KEYS 1 counters (hash: outstanding)   2 stage (list)   3 quiet (list)   4 readers (hash: stream key -> counted readers)
-- A staged item is one commit: {rank, n, gate key, {scope, value, ...}, {stream key, entry id, nine values, ...}}.
local function append(key, entry, t, i)
  redis.call('XADD', key, entry, 'id', t[i], 'type', t[i + 1], 'v', t[i + 2], 'seq', t[i + 3], 'at', t[i + 4],
    'cause', t[i + 5], 'correlation', t[i + 6], 'traceparent', t[i + 7], 'data', t[i + 8])
end

local function release(counters, stage, quiet, readers)
  local total = 0
  local counted = nil
  while total == 0 do
    local packed = redis.call('LRANGE', stage, 0, -1)
    if #packed == 0 then
      redis.call('LPUSH', quiet, '1')
      break
    end
    redis.call('DEL', stage)
    if not counted then
      counted = {}
      local flat = redis.call('HGETALL', readers)
      for i = 1, #flat, 2 do counted[flat[i]] = tonumber(flat[i + 1]) end
    end
    local staged = {}
    for i = 1, #packed do staged[i] = cmsgpack.unpack(packed[i]) end
    table.sort(staged, function(a, b)
      if a[1] ~= b[1] then return a[1] < b[1] end
      return a[2] < b[2]
    end)
    for i = 1, #staged do
      local gate, scopes, out = staged[i][3], staged[i][4], staged[i][5]
      for j = 1, #scopes, 2 do redis.call('HSET', gate, scopes[j], scopes[j + 1]) end
      for j = 1, #out, 11 do
        append(out[j], out[j + 1], out, j + 2)
        total = total + (counted[out[j]] or 0)
      end
    end
  end
  redis.call('HSET', counters, 'outstanding', total)
end

local function settle(counters, stage, quiet, readers, n)
  if n == 0 then return end
  if redis.call('HINCRBY', counters, 'outstanding', -n) == 0 then release(counters, stage, quiet, readers) end
end
