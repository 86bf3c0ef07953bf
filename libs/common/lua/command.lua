-- An event of somebody who is no service: gives it its seq and entry id, drops a nonce that was seen.
-- KEYS 1 stream  2 its writer's cursor hash  then, for who takes part in tape runs: counters, the writer's staging list
-- ARGV 1 nonce  2 entry ms  3 type  4 v  5 at  6 data   (id, correlation = ARGV 7; traceparent = ARGV 8)
-- Outside tape runs the moment is the server's: a writer's clock that goes wrong must not move anybody else's.
local ms, at = tonumber(ARGV[2]), ARGV[5]
local staged = KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1
local now = not staged and redis.pcall('TIME')
if now and not now.err then
  ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
  at = now[1] .. string.format('%06d', tonumber(now[2])) .. '000'
end
if redis.call('HSETNX', KEYS[2], 'nonce:' .. ARGV[1], at) == 0 then return {'DUPLICATE'} end
local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
local last = redis.call('HMGET', KEYS[2], 'ms', 'n')
local n = 0
if last[1] and tonumber(last[1]) >= ms then ms, n = tonumber(last[1]), tonumber(last[2]) + 1 end
redis.call('HSET', KEYS[2], 'ms', ms, 'n', n)
local entry = string.format('%d-%d', ms, n)
local value = {ARGV[7], ARGV[3], ARGV[4], tostring(seq), at, '[]', ARGV[7], ARGV[8], ARGV[6]}
if staged then
  local out = {KEYS[1], entry}
  for i = 1, 9 do out[i + 2] = value[i] end
  redis.call('RPUSH', KEYS[4], cmsgpack.pack({{}, out}))
else
  append(KEYS[1], entry, value, 1)
end
return {'OK', entry, seq}
