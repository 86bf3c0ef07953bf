-- The simulator holds n more requests: they are no longer on their way.
-- KEYS 1 counters  2 stage  3 quiet  4 readers   ARGV 1 n
settle(KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[1]))
return {'OK'}
