-- The simulator holds n more requests: they are no longer on their way.
-- KEYS 1 counters  2 bell   ARGV 1 n
settle(KEYS[1], KEYS[2], tonumber(ARGV[1]))
return {'OK'}
