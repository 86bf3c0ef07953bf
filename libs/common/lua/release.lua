-- The driver's, when the bell was rung: everything staged becomes readable at once, in (writer, commit) order. What is not a
-- stream of the one who staged it is refused before anything is written: a staging list gives nobody another's rights.
-- KEYS 1 counters  2 gate  then w staging lists in the order of release  then every staged stream
-- ARGV 1 w  2 place of risk's list among them  then for each stream: place of its writer's list, counted readers
if redis.call('HGET', KEYS[1], 'outstanding') ~= '0' then return {'BUSY'} end
local writers, first = tonumber(ARGV[1]), 2 + tonumber(ARGV[1])
local writer, readers = {}, {}
for i = 1, #KEYS - first do
  writer[KEYS[first + i]], readers[KEYS[first + i]] = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
end
local staged = {}
for w = 1, writers do
  local packed = redis.call('LRANGE', KEYS[2 + w], 0, -1)
  for i = 1, #packed do
    local item = cmsgpack.unpack(packed[i])
    local scopes, out = item[1], item[2]
    if #scopes > 0 and w ~= tonumber(ARGV[2]) then return {'FOREIGN', KEYS[2 + w], KEYS[2]} end
    for j = 1, #out, 11 do
      if writer[out[j]] ~= w then return {'FOREIGN', KEYS[2 + w], out[j]} end
    end
    staged[#staged + 1] = item
  end
end
if #staged == 0 then return {'QUIET'} end
redis.call('DEL', unpack(KEYS, 3, first))
local total = 0
for i = 1, #staged do
  local scopes, out = staged[i][1], staged[i][2]
  for j = 1, #scopes, 2 do redis.call('HSET', KEYS[2], scopes[j], scopes[j + 1]) end
  for j = 1, #out, 11 do
    append(out[j], out[j + 1], out, j + 2)
    total = total + readers[out[j]]
  end
end
redis.call('HSET', KEYS[1], 'outstanding', total)
return {total == 0 and 'QUIET' or 'RELEASED'}
