-- Writes one batch: states, chunks, settings, days and the new position, or nothing.
--
-- KEYS: ledger, states, chunks, rules, rules-used, changed, open, then one hash per changed day
-- ARGV  1-4   what the ledger must hold: token, contacts, conversations, seq
--       5-7   what it will hold: contacts, conversations, seq
--       8-12  the last record of each topic, the gap mark, the horizon, the day from which on none is sealed
--             ('' leaves one as it is)
--       13-16 how many values states, chunks, rules and rules-used take below
--       17    how many versions of settings go, from rules and rules-used
--       18    how many chunks go
--       then per day: how many values to set, how many fields to delete (-1: the whole day goes), its member of changed
--       (with a '~' before it: the day is only sealed, and says what it said; with a '=': sealed in part)
--       then the values themselves, in that order
-- Returns 'done', or, with nothing written, 'lost' (another token, another position) or 'busy'.
--
-- Every check stands before the first write. The first write is 'busy' and the last takes it away, so a script that
-- fails half way cannot pass for one that did not run.

local LEDGER, STATES, CHUNKS, RULES, RULES_USED, CHANGED, OPEN, FIRST_DAY = 1, 2, 3, 4, 5, 6, 7, 8
local KINDS = {'hash', 'hash', 'hash', 'hash', 'hash', 'zset', 'zset'}
local HEAD = 18
-- Lua's stack takes about 8,000 values; an even number keeps fields and values together.
local MOST = 7000

local held = redis.call('HMGET', KEYS[LEDGER], 'token', 'contacts', 'conversations', 'seq', 'busy')
for place = 1, 4 do
    if held[place] ~= ARGV[place] then
        return 'lost'
    end
end
if held[5] then
    return 'busy'
end

local days = #KEYS - FIRST_DAY + 1
local expected = HEAD + 3 * days
for place = 13, 18 do
    expected = expected + tonumber(ARGV[place])
end
for day = 0, days - 1 do
    local set, deleted = tonumber(ARGV[HEAD + 3 * day + 1]), tonumber(ARGV[HEAD + 3 * day + 2])
    expected = expected + set + math.max(deleted, 0)
end
if expected ~= #ARGV then
    return redis.error_reply('ERR mediana: ' .. #ARGV .. ' arguments where ' .. expected .. ' were announced')
end
for place = 1, #KEYS do
    local kind = redis.call('TYPE', KEYS[place])['ok']
    if kind ~= 'none' and kind ~= (KINDS[place] or 'hash') then
        return redis.error_reply('ERR mediana: ' .. KEYS[place] .. ' is a ' .. kind)
    end
end

local at = HEAD + 3 * days + 1

local function write(command, key, count)
    local last = at + count - 1
    for first = at, last, MOST do
        redis.call(command, key, unpack(ARGV, first, math.min(first + MOST - 1, last)))
    end
    at = last + 1
end

redis.call('HSET', KEYS[LEDGER], 'busy', ARGV[7])
write('HSET', KEYS[STATES], tonumber(ARGV[13]))
write('HSET', KEYS[CHUNKS], tonumber(ARGV[14]))
write('HSET', KEYS[RULES], tonumber(ARGV[15]))
write('HSET', KEYS[RULES_USED], tonumber(ARGV[16]))
local first_gone = at
write('HDEL', KEYS[RULES], tonumber(ARGV[17]))
at = first_gone
write('HDEL', KEYS[RULES_USED], tonumber(ARGV[17]))
write('HDEL', KEYS[CHUNKS], tonumber(ARGV[18]))
for day = 0, days - 1 do
    local key = KEYS[FIRST_DAY + day]
    local deleted = tonumber(ARGV[HEAD + 3 * day + 2])
    local member = ARGV[HEAD + 3 * day + 3]
    write('HSET', key, tonumber(ARGV[HEAD + 3 * day + 1]))
    if deleted < 0 then
        redis.call('UNLINK', key)
        redis.call('ZREM', KEYS[CHANGED], member)
        redis.call('ZREM', KEYS[OPEN], member)
    else
        write('HDEL', key, deleted)
        local mark = string.sub(member, 1, 1)
        if mark == '~' then
            redis.call('ZREM', KEYS[OPEN], string.sub(member, 2))
        elseif mark ~= '=' then
            redis.call('ZADD', KEYS[CHANGED], ARGV[7], member)
            redis.call('ZADD', KEYS[OPEN], string.match(member, '^%d+'), member)
        end
    end
end
local names = {'check_contacts', 'check_conversations', 'gap', 'horizon', 'sealed'}
for place = 1, #names do
    if ARGV[7 + place] ~= '' then
        redis.call('HSET', KEYS[LEDGER], names[place], ARGV[7 + place])
    end
end
redis.call('HSET', KEYS[LEDGER], 'contacts', ARGV[5], 'conversations', ARGV[6], 'seq', ARGV[7])
redis.call('HDEL', KEYS[LEDGER], 'busy')
return 'done'
