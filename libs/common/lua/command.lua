-- An event of somebody who is no service: gives it its seq and entry id, drops a nonce that was seen.
-- KEYS 1 stream  2 its writer's cursor hash  then, for who takes part in tape runs: counters, the writer's staging list
-- ARGV 1 nonce  2 entry ms  3 type  4 v  5 at  6 data   (id, correlation = ARGV 7; traceparent = ARGV 8)
if redis.call('HSETNX', KEYS[2], 'nonce:' .. ARGV[1], ARGV[5]) == 0 then return {'DUPLICATE'} end
local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
local last = redis.call('HMGET', KEYS[2], 'ms', 'n')
local ms, n = tonumber(ARGV[2]), 0
if last[1] and tonumber(last[1]) >= ms then ms, n = tonumber(last[1]), tonumber(last[2]) + 1 end
redis.call('HSET', KEYS[2], 'ms', ms, 'n', n)
local entry = string.format('%d-%d', ms, n)
local value = {ARGV[7], ARGV[3], ARGV[4], tostring(seq), ARGV[5], '[]', ARGV[7], ARGV[8], ARGV[6]}
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then
  local out = {KEYS[1], entry}
  for i = 1, 9 do out[i + 2] = value[i] end
  redis.call('RPUSH', KEYS[4], cmsgpack.pack({{}, out}))
else
  append(KEYS[1], entry, value, 1)
end
return {'OK', entry, seq}
