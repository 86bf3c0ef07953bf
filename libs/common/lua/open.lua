-- Take a service over: a new epoch and this instance's nonce fence every older process. The nonce tells two epochs of the
-- same number apart after the server lost its data.
-- KEYS 1 cursor hash   ARGV 1 instance
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSETNX', KEYS[1], 'version', '0')
redis.call('HSET', KEYS[1], 'instance', ARGV[1])
return redis.call('HGETALL', KEYS[1])
