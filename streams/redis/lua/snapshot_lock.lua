-- The lock of the one snapshotter of a namespace, and what only its holder may write.
--
-- KEYS: lock, epoch, and for 'set' and 'delete' a hash of the namespace
-- ARGV: what to do, the token, then
--   acquire  lease in milliseconds: 'busy', or the epoch of this acquisition
--   renew    lease in milliseconds: 'lost' or 'ok'
--   outrun   an epoch that was met elsewhere: 'lost', or a higher epoch
--   set      field, value, ...: 'lost' or 'ok'
--   delete   field, ...: 'lost' or 'ok'
--   release  'lost' or 'ok'
--
-- The epoch rises with each acquisition. Redis may go back to an older copy and give one out twice, so it is never
-- compared without the token.

local action, token = ARGV[1], ARGV[2]
local holder = redis.call('GET', KEYS[1])
-- Lua's stack takes about 8,000 values; an even number keeps fields and values together.
local MOST = 7000

if action == 'acquire' then
    local lease = tonumber(ARGV[3])
    if holder and holder ~= token then
        -- The server's clock went back: what was to expire in a minute would be held for years.
        if redis.call('PTTL', KEYS[1]) > lease or redis.call('PTTL', KEYS[1]) == -1 then
            redis.call('PEXPIRE', KEYS[1], ARGV[3])
        end
        return 'busy'
    end
    redis.call('SET', KEYS[1], token, 'PX', ARGV[3])
    return tostring(redis.call('INCR', KEYS[2]))
end
if holder ~= token then
    return 'lost'
end
if action == 'renew' then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
elseif action == 'outrun' then
    local above = math.max(tonumber(ARGV[3]), tonumber(redis.call('GET', KEYS[2]) or '0')) + 1
    redis.call('SET', KEYS[2], string.format('%.0f', above))
    return string.format('%.0f', above)
elseif action == 'set' then
    for first = 3, #ARGV, MOST do
        redis.call('HSET', KEYS[3], unpack(ARGV, first, math.min(first + MOST - 1, #ARGV)))
    end
elseif action == 'delete' then
    for first = 3, #ARGV, MOST do
        redis.call('HDEL', KEYS[3], unpack(ARGV, first, math.min(first + MOST - 1, #ARGV)))
    end
elseif action == 'release' then
    redis.call('DEL', KEYS[1])
else
    return redis.error_reply('ERR mediana: no action ' .. action)
end
return 'ok'
