-- Waves of a tape run (one server). Outputs are staged; when the count of outstanding deliveries reaches zero everything
-- staged is released at once, in (service, commit, output) order, or, when nothing is staged, the driver is told.
-- KEYS 1 counters (hash: outstanding)   2 stage (list)   3 quiet (list)   4 readers (hash: stream key -> counted readers)
local FIELD = {'id', 'type', 'v', 'seq', 'at', 'cause', 'correlation', 'traceparent', 'data'}

local function append(key, entry, value, first)
  local args = {'XADD', key, entry}
  for i = 1, 9 do args[#args + 1] = FIELD[i]; args[#args + 1] = value[first + i - 1] end
  redis.call(unpack(args))
end

local function release(counters, stage, quiet, readers)
  local total = 0
  while total == 0 do
    local packed = redis.call('LRANGE', stage, 0, -1)
    if #packed == 0 then
      redis.call('LPUSH', quiet, '1')
      break
    end
    redis.call('DEL', stage)
    local staged = {}
    for i = 1, #packed do staged[i] = cmsgpack.unpack(packed[i]) end
    table.sort(staged, function(a, b)
      if a[1] ~= b[1] then return a[1] < b[1] end
      return a[2] < b[2]
    end)
    for i = 1, #staged do
      local item = staged[i]
      if item[3] == '' then                       -- a change of the gate: {rank, n, '', gate key, scope, value}
        redis.call('HSET', item[4], item[5], item[6])
      else                                        -- an entry: {rank, n, stream key, entry id, nine values}
        append(item[3], item[4], item, 5)
        total = total + tonumber(redis.call('HGET', readers, item[3]) or '0')
      end
    end
  end
  redis.call('HSET', counters, 'outstanding', total)
end

local function settle(counters, stage, quiet, readers, n)
  if n == 0 then return end
  if redis.call('HINCRBY', counters, 'outstanding', -n) == 0 then release(counters, stage, quiet, readers) end
end
