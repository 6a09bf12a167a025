-- Notes that an account's newest revision still says all there was at an instant.
--
-- KEYS: fence, revision, as_of
-- ARGV: epoch of the snapshotter's lock, revision, instant in milliseconds
-- Writes nothing where a snapshotter that began later has written, or another revision is the newest.

local held_epoch = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) ')
if tonumber(held_epoch or '0') <= tonumber(ARGV[1]) and redis.call('GET', KEYS[2]) == ARGV[2] then
    redis.call('SET', KEYS[3], ARGV[2] .. ' ' .. ARGV[3])
end
return 'ok'
