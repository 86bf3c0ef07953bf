-- The driver's next instant: what it stages, then how many outside batches will be delivered before it is released.
-- KEYS 1 counters  2 bell  3 driver's staging list  4.. stream keys
-- ARGV 1 batches to be delivered  2 monotonic seconds  then (index of its key, entry id, nine values) each
if redis.call('HGET', KEYS[1], 'outstanding') ~= '0' then return {'BUSY'} end
local out = {}
for p = 3, #ARGV, 11 do
  local n = #out
  out[n + 1] = KEYS[tonumber(ARGV[p])]
  for j = 2, 11 do out[n + j] = ARGV[p + j - 1] end
end
redis.call('RPUSH', KEYS[3], cmsgpack.pack({{}, out}))
redis.call('HSET', KEYS[1], 'outstanding', ARGV[1], 'began', ARGV[2])
if ARGV[1] == '0' then redis.call('LPUSH', KEYS[2], '1') end
return {'OK'}
