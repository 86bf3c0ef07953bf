-- One step of one service: every check first, then every write (Lua does not roll back). It runs with the rights of the service
-- that calls it: a key that is not its own is refused by the server.
-- KEYS 1 cursor hash  2 journal  3 snapshot  then output streams, the gate where it is due, and in a tape run the counters, the
--      bell and the service's own staging list, in this order
-- ARGV 1 epoch  2 instance  3 version  4 index of the gate's key, or 0  5 index of the counters' key, or 0  6 position
--      7 journal text  8 snapshot or ''  9 deliveries consumed  10 requests that will be sent
--      11 guards g  12 gate changes c  13 outputs o
--      then g scopes, c x (scope, value), o x (index of its key, negative: staged; entry id, nine values), then cursor
--      field/value pairs
local held = redis.call('HMGET', KEYS[1], 'epoch', 'instance', 'version')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return {'FENCED', held[1] or ''} end
if held[3] ~= ARGV[3] then return {'VERSION', held[3] or ''} end
local gate, wave, p = KEYS[tonumber(ARGV[4])], tonumber(ARGV[5]), 13
for i = 1, tonumber(ARGV[11]) do
  local scope = ARGV[p + i]
  local state = redis.call('HGET', gate, scope)
  if state ~= 'open' and (state or scope == 'book') then return {'CLOSED', scope} end
end
p = p + tonumber(ARGV[11])
local version = tonumber(ARGV[3]) + 1
local scopes, out = {}, {}
for i = 1, 2 * tonumber(ARGV[12]), 2 do
  scopes[i], scopes[i + 1] = ARGV[p + i], ARGV[p + i + 1]
  if wave == 0 then redis.call('HSET', gate, scopes[i], scopes[i + 1]) end
end
p = p + 2 * tonumber(ARGV[12])
for i = 1, tonumber(ARGV[13]) do
  local index = tonumber(ARGV[p + 1])
  if index < 0 then
    local n = #out
    out[n + 1] = KEYS[-index]
    for j = 2, 11 do out[n + j] = ARGV[p + j] end
  else
    append(KEYS[index], ARGV[p + 2], ARGV, p + 3)
  end
  p = p + 11
end
if wave ~= 0 and (#out > 0 or #scopes > 0) then redis.call('RPUSH', KEYS[wave + 2], cmsgpack.pack({scopes, out})) end
redis.call('XADD', KEYS[2], version .. '-0', 'data', ARGV[7])
local set = {'HSET', KEYS[1], 'version', version, 'position', ARGV[6]}
for i = p + 1, #ARGV do set[#set + 1] = ARGV[i] end
redis.call(unpack(set))
if ARGV[8] ~= '' then redis.call('SET', KEYS[3], ARGV[8]) end
if wave ~= 0 then settle(KEYS[wave], KEYS[wave + 1], tonumber(ARGV[9]) - tonumber(ARGV[10])) end
return {'OK'}
