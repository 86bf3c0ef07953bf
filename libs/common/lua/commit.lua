-- One step of one service: every check first, then every write (Lua does not roll back).
-- KEYS 1 counters  2 stage  3 quiet  4 readers  5 cursor hash  6 gate  7 journal  8 snapshot  9.. output streams
-- ARGV 1 epoch  2 instance  3 version  4 rank of the service in a wave, or ''  5 position  6 journal text  7 snapshot or ''
--      8 deliveries consumed  9 requests that will be sent  10 guards g  11 gate changes c  12 outputs o
--      then g scopes, c x (scope, value), o x (index of its key, entry id, nine values), then cursor field/value pairs
local held = redis.call('HMGET', KEYS[5], 'epoch', 'instance', 'version')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return {'FENCED', held[1] or ''} end
if held[3] ~= ARGV[3] then return {'VERSION', held[3] or ''} end
local p = 12
for i = 1, tonumber(ARGV[10]) do
  local scope = ARGV[p + i]
  local state = redis.call('HGET', KEYS[6], scope)
  if state ~= 'open' and (state or scope == 'book') then return {'CLOSED', scope} end
end
p = p + tonumber(ARGV[10])
local version = tonumber(ARGV[3]) + 1
local rank = ARGV[4]
local scopes, out = {}, {}
for i = 1, 2 * tonumber(ARGV[11]), 2 do
  scopes[i], scopes[i + 1] = ARGV[p + i], ARGV[p + i + 1]
  if rank == '' then redis.call('HSET', KEYS[6], scopes[i], scopes[i + 1]) end
end
p = p + 2 * tonumber(ARGV[11])
local counted = {}
for i = 1, tonumber(ARGV[12]) do
  local key = KEYS[tonumber(ARGV[p + 1])]
  if rank ~= '' and counted[key] == nil then counted[key] = redis.call('HEXISTS', KEYS[4], key) == 1 end
  if counted[key] then
    local n = #out
    out[n + 1] = key
    for j = 2, 11 do out[n + j] = ARGV[p + j] end
  else
    append(key, ARGV[p + 2], ARGV, p + 3)
  end
  p = p + 11
end
if rank ~= '' and (#out > 0 or #scopes > 0) then
  redis.call('RPUSH', KEYS[2], cmsgpack.pack({tonumber(rank), version, KEYS[6], scopes, out}))
end
redis.call('XADD', KEYS[7], version .. '-0', 'data', ARGV[6])
local set = {'HSET', KEYS[5], 'version', version, 'position', ARGV[5]}
for i = p + 1, #ARGV do set[#set + 1] = ARGV[i] end
redis.call(unpack(set))
if ARGV[7] ~= '' then redis.call('SET', KEYS[8], ARGV[7]) end
if rank ~= '' then settle(KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[8]) - tonumber(ARGV[9])) end
return {'OK'}
