-- Waves of a tape run (one server). A service stages its outputs in a list of its own; when the count of outstanding deliveries
-- reaches zero the bell is rung, and the driver, who alone may write for others, releases everything staged at once (release.lua).
local function append(key, entry, t, i)
  redis.call('XADD', key, entry, 'id', t[i], 'type', t[i + 1], 'v', t[i + 2], 'seq', t[i + 3], 'at', t[i + 4],
    'cause', t[i + 5], 'correlation', t[i + 6], 'traceparent', t[i + 7], 'data', t[i + 8])
end

local function settle(counters, bell, n)
  if n ~= 0 and redis.call('HINCRBY', counters, 'outstanding', -n) == 0 then redis.call('LPUSH', bell, '1') end
end
