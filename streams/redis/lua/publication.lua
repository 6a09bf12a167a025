-- All that is ever written to an account's published keys. Every action but 'claim' compares the fence first.
--
-- KEYS: fence, revision, manifest, report, history, garbage, then parts
-- ARGV: what to do, epoch, token, then
--   claim    nothing more: the fence is ours from now on, and whoever held it can write nothing any more.
--            Returns 'ok', revision, manifest, newest document's revision; or 'newer' and the epoch of a snapshotter that began later.
--   write    part's member, 'first' or 'more', 'HSET' with fields and values, or 'SET' with one value
--   publish  revision that was read ('' for none), new revision, document, manifest, documents to keep, channel,
--            notification, number of fresh parts, how long each of them is (the fresh ones come first among the parts;
--            after them all others that the manifest names and that are known to be there)
--   sweep    age in milliseconds and number of revisions after which garbage goes, then the members of the parts
-- Returns 'ok' (with 'sweep': and how many went), or with nothing written 'lost', 'exists', 'gone',
-- 'superseded' and the revision there is, 'missing' and the places of parts that are not there or not whole.
--
-- A part is garbage until a manifest names it: it is noted in the script that begins it, so a snapshotter that dies
-- leaves nothing behind for good. What a new manifest no longer names is garbage from then on. The notes are
-- 'REVISION:AGE', by a clock of their own (see tick).

local FENCE, REVISION, MANIFEST, REPORT, HISTORY, GARBAGE, PARTS = 1, 2, 3, 4, 5, 6, 6
local CLOCK = 'clock'
local MOST_STEP_MS = 300000
-- Lua's stack takes about 8,000 values; an even number keeps fields and values together.
local MOST = 7000

local action, epoch, token = ARGV[1], ARGV[2], ARGV[3]
local fence = redis.call('GET', KEYS[FENCE])
local held_epoch, held_token = string.match(fence or '0 ', '^(%d+) (.*)$')

if action == 'claim' then
    if tonumber(held_epoch or '0') > tonumber(epoch) then
        return {'newer', held_epoch}
    end
    redis.call('SET', KEYS[FENCE], epoch .. ' ' .. token)
    local newest = 0
    for _, held in ipairs(redis.call('HKEYS', KEYS[HISTORY])) do
        newest = math.max(newest, tonumber(held) or 0)
    end
    return {'ok', redis.call('GET', KEYS[REVISION]) or '', redis.call('GET', KEYS[MANIFEST]) or '',
        string.format('%.0f', newest)}
end
if held_epoch ~= epoch or held_token ~= token then
    return {'lost'}
end

-- How old garbage is must not follow from a clock that jumps. This one never goes back, and counts at most five
-- minutes between two looks at it.
local function tick()
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    local age, seen = string.match(redis.call('HGET', KEYS[GARBAGE], CLOCK) or '', '^(%d+):(%d+)$')
    age = tonumber(age or '0') + math.min(math.max(now - tonumber(seen or now), 0), MOST_STEP_MS)
    redis.call('HSET', KEYS[GARBAGE], CLOCK, string.format('%.0f:%.0f', age, now))
    return age
end

local function note(revision, age)
    return string.format('%.0f:%.0f', revision, age)
end

local function named_by(manifest)
    local known, found = pcall(cmsgpack.unpack, manifest)
    if known and type(found) == 'table' and type(found.parts) == 'table' then
        return found.parts
    end
    return nil
end

local revision = tonumber(redis.call('GET', KEYS[REVISION]) or '0') or 0

if action == 'write' then
    local part, member, place, command = KEYS[PARTS + 1], ARGV[4], ARGV[5], ARGV[6]
    local there = redis.call('EXISTS', part) == 1
    if place == 'first' then
        if there then
            return {'exists'}
        end
        redis.call('HSET', KEYS[GARBAGE], member, note(revision, tick()))
    elseif not there then
        return {'gone'}
    end
    if command == 'SET' then
        redis.call('SET', part, ARGV[7])
    else
        for first = 7, #ARGV, MOST do
            redis.call('HSET', part, unpack(ARGV, first, math.min(first + MOST - 1, #ARGV)))
        end
    end
    return {'ok'}
end

if action == 'publish' then
    local known = redis.call('GET', KEYS[REVISION]) or ''
    if known ~= ARGV[4] then
        return {'superseded', known}
    end
    local fresh, missing = tonumber(ARGV[11]), {'missing'}
    if #ARGV ~= 11 + fresh or #KEYS < PARTS + fresh then
        return redis.error_reply('ERR mediana: ' .. #ARGV .. ' arguments and ' .. #KEYS .. ' keys for ' .. fresh .. ' parts')
    end
    for place = 1, fresh do
        local part = KEYS[PARTS + place]
        local kind = redis.call('TYPE', part)['ok']
        local length = 0
        if kind == 'hash' then
            length = redis.call('HLEN', part)
        elseif kind == 'string' then
            length = redis.call('STRLEN', part)
        end
        if length ~= tonumber(ARGV[11 + place]) then
            missing[#missing + 1] = tostring(place)
        end
    end
    for first = PARTS + fresh + 1, #KEYS, MOST do
        local last = math.min(first + MOST - 1, #KEYS)
        if redis.call('EXISTS', unpack(KEYS, first, last)) ~= last - first + 1 then
            for place = first, last do
                if redis.call('EXISTS', KEYS[place]) == 0 then
                    missing[#missing + 1] = tostring(place - PARTS)
                end
            end
        end
    end
    if #missing > 1 then
        return missing
    end
    for place, kind in pairs({[HISTORY] = 'hash', [GARBAGE] = 'hash'}) do
        local found = redis.call('TYPE', KEYS[place])['ok']
        if found ~= 'none' and found ~= kind then
            return redis.error_reply('ERR mediana: ' .. KEYS[place] .. ' is a ' .. found)
        end
    end
    local named = named_by(ARGV[7])
    if not named then
        return redis.error_reply('ERR mediana: the manifest names no parts')
    end
    -- Before the manifest, the notes; the revision last: a script that stopped half way would be made again.
    local age = tick()
    local replaced = named_by(redis.call('GET', KEYS[MANIFEST]) or '') or {}
    for name, version in pairs(replaced) do
        if named[name] ~= version then
            redis.call('HSET', KEYS[GARBAGE], name .. ':' .. version, note(tonumber(ARGV[5]), age))
        end
    end
    for name, version in pairs(named) do
        if replaced[name] ~= version then
            redis.call('HDEL', KEYS[GARBAGE], name .. ':' .. version)
        end
    end
    redis.call('HSET', KEYS[HISTORY], ARGV[5], ARGV[6])
    local oldest = tonumber(ARGV[5]) - tonumber(ARGV[8])
    for _, held in ipairs(redis.call('HKEYS', KEYS[HISTORY])) do
        local number = tonumber(held)
        if not number or number <= oldest then
            redis.call('HDEL', KEYS[HISTORY], held)
        end
    end
    redis.call('SET', KEYS[MANIFEST], ARGV[7])
    redis.call('SET', KEYS[REPORT], ARGV[6])
    redis.call('SET', KEYS[REVISION], ARGV[5])
    redis.call('PUBLISH', ARGV[9], ARGV[10])
    return {'ok'}
end

if action == 'sweep' then
    local age_ms, revisions, swept = tonumber(ARGV[4]), tonumber(ARGV[5]), 0
    local named = named_by(redis.call('GET', KEYS[MANIFEST]) or '')
    if not named then
        return {'ok', '0'}
    end
    local age = tick()
    for place = 6, #ARGV do
        local member = ARGV[place]
        local name, version = string.match(member, '^(.*):([^:]*)$')
        local since_revision, since = string.match(redis.call('HGET', KEYS[GARBAGE], member) or '', '^(%d+):(%d+)$')
        if name and named[name] == version then
            redis.call('HDEL', KEYS[GARBAGE], member)
        elseif since then
            since_revision, since = tonumber(since_revision), tonumber(since)
            if since > age or since_revision > revision then
                -- Noted by an earlier build with the time of day, or before Redis went back: it is garbage from now on.
                redis.call('HSET', KEYS[GARBAGE], member, note(math.min(since_revision, revision), age))
            elseif age - since >= age_ms and revision - since_revision >= revisions then
                redis.call('UNLINK', KEYS[PARTS + place - 5])
                redis.call('HDEL', KEYS[GARBAGE], member)
                swept = swept + 1
            end
        end
    end
    return {'ok', tostring(swept)}
end
return redis.error_reply('ERR mediana: no action ' .. action)
