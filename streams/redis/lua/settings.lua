-- Takes over what one partition of the accounts topic brought, unless another worker was faster.
--
-- KEYS: settings, settings-log
-- ARGV  1-3   the position's field, the position this worker read from ('' for none), the one it read to
--       4     the new version ('' when nothing changed)
--       5     how many values to set below; what follows them is deleted
-- Returns 'done', or 'lost' when the position is another.

if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then
    return 'lost'
end
local HEAD, MOST = 5, 7000
local last = HEAD + tonumber(ARGV[5])
for first = HEAD + 1, last, MOST do
    redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + MOST - 1, last)))
end
for first = last + 1, #ARGV, MOST do
    redis.call('HDEL', KEYS[1], unpack(ARGV, first, math.min(first + MOST - 1, #ARGV)))
end
if ARGV[4] ~= '' then
    redis.call('HSET', KEYS[2], 'version', ARGV[4])
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 'done'
