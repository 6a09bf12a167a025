-- Takes over what one partition of the accounts topic brought, unless another worker was faster.
--
-- KEYS: settings, settings-log, settings-before
-- ARGV  1-3   the position's field, the position this worker read from ('' for none), the one it read to
--       4     the new version ('' when nothing changed)
--       5     how many values to set below; what follows them is deleted
-- Returns 'done', or 'lost' when the position is another.

if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then
    return 'lost'
end
local HEAD, MOST = 5, 7000
local last = HEAD + tonumber(ARGV[5])
-- What an account had goes on should a program not be able to use what it has now.
for place = HEAD + 1, last, 2 do
    local held = redis.call('HGET', KEYS[1], ARGV[place])
    if held and held ~= ARGV[place + 1] then
        redis.call('HSET', KEYS[3], ARGV[place], held)
    end
end
for first = HEAD + 1, last, MOST do
    redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + MOST - 1, last)))
end
for first = last + 1, #ARGV, MOST do
    local until_place = math.min(first + MOST - 1, #ARGV)
    redis.call('HDEL', KEYS[1], unpack(ARGV, first, until_place))
    redis.call('HDEL', KEYS[3], unpack(ARGV, first, until_place))
end
if ARGV[4] ~= '' then
    redis.call('HSET', KEYS[2], 'version', ARGV[4])
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 'done'
