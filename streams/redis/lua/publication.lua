-- All that is ever written to an account's published keys. Every action compares the fence first.
--
-- KEYS: fence, revision, manifest, report, history, garbage, then parts
-- ARGV: what to do, epoch, token, 'claimed' when the fence is ours already or 'free', then
--   claim    nothing more: the fence is ours from now on, and whoever held it can write nothing any more.
--            Returns 'ok', revision, manifest, newest document's revision.
--   write    part's member, its value
--   publish  revision that was read ('' for none) and the SHA-1 of its manifest, new revision, document, manifest, document for the history,
--            documents to keep, channel, notification, how many parts come with this script, were written before it,
--            and are to be swept (the parts come in this order; after them all others that the manifest names and that
--            are known to be there); the values of the first, the lengths of the second, the members of the second
--   sweep    age in milliseconds and number of revisions after which garbage goes, then the members of the parts
-- Returns 'ok' (with 'sweep': and how many went), or with nothing written 'lost', 'newer' and the epoch of a snapshotter
-- that began later, 'exists', 'superseded' and the revision there is, 'missing' and the places of parts that are not
-- there or not whole.
--
-- A part that is written by itself is garbage until a manifest names it: it is noted in the script that writes it, so a
-- snapshotter that dies leaves nothing behind for good. The notes are 'REVISION:AGE', by a clock of their own (see
-- tick). Parts that a manifest replaces are noted in that manifest.

local FENCE, REVISION, MANIFEST, REPORT, HISTORY, GARBAGE, PARTS = 1, 2, 3, 4, 5, 6, 6
local CLOCK = 'clock'
local MOST_STEP_MS = 300000
-- Lua's stack takes about 8,000 values; an even number keeps fields and values together.
local MOST = 7000
local MOST_OLD = 100

local action, epoch, token, held = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local fence, revision_there, manifest_there = unpack(redis.call('MGET', KEYS[FENCE], KEYS[REVISION], KEYS[MANIFEST]))
local held_epoch, held_token = string.match(fence or '0 ', '^(%d+) (.*)$')
if held == 'claimed' then
    if held_epoch ~= epoch or held_token ~= token then
        return {'lost'}
    end
elseif tonumber(held_epoch or '0') > tonumber(epoch) then
    return {'newer', held_epoch}
end
local our_fence = epoch .. ' ' .. token

if action == 'claim' then
    redis.call('SET', KEYS[FENCE], our_fence)
    local newest = 0
    for _, number in ipairs(redis.call('HKEYS', KEYS[HISTORY])) do
        newest = math.max(newest, tonumber(number) or 0)
    end
    return {'ok', revision_there or '', manifest_there or '', string.format('%.0f', newest)}
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

local revision = tonumber(revision_there or '0') or 0

if action == 'write' then
    local part = KEYS[PARTS + 1]
    if redis.call('EXISTS', part) == 1 then
        return {'exists'}
    end
    redis.call('HSET', KEYS[GARBAGE], ARGV[5], note(revision, tick()))
    redis.call('SET', part, ARGV[6])
    return {'ok'}
end

if action == 'publish' then
    -- After Redis went back to an older copy, two revisions may have one number.
    local known = (revision_there or '') .. ' ' .. redis.sha1hex(manifest_there or '')
    if known ~= ARGV[5] then
        return {'superseded', revision_there or ''}
    end
    local inline, written, swept = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
    if #ARGV ~= 15 + inline + 2 * written or #KEYS < PARTS + inline + written + swept then
        return redis.error_reply('ERR mediana: ' .. #ARGV .. ' arguments and ' .. #KEYS .. ' keys for a publication')
    end
    local missing = {'missing'}
    for place = inline + 1, inline + written do
        if redis.call('STRLEN', KEYS[PARTS + place]) ~= tonumber(ARGV[15 + place]) then
            missing[#missing + 1] = tostring(place)
        end
    end
    local others = PARTS + inline + written + swept + 1
    for first = others, #KEYS, MOST do
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
    -- First what fails where a key is of the wrong kind: nothing else is written then, and a document too many in the
    -- history is the one that its revision will have.
    redis.call('HSET', KEYS[HISTORY], ARGV[6], ARGV[9])
    local values = {
        KEYS[MANIFEST], ARGV[8], KEYS[REPORT], ARGV[7], KEYS[REVISION], ARGV[6], KEYS[FENCE], our_fence
    }
    for place = 1, inline do
        values[#values + 1] = KEYS[PARTS + place]
        values[#values + 1] = ARGV[15 + place]
    end
    redis.call('MSET', unpack(values))
    -- One goes with each revision that comes; more where fewer are kept than before.
    local old = {}
    local oldest = tonumber(ARGV[6]) - tonumber(ARGV[10])
    for number = math.max(1, oldest - MOST_OLD + 1), oldest do
        old[#old + 1] = string.format('%.0f', number)
    end
    if #old > 0 then
        redis.call('HDEL', KEYS[HISTORY], unpack(old))
    end
    if swept > 0 then
        local first = PARTS + inline + written + 1
        redis.call('UNLINK', unpack(KEYS, first, first + swept - 1))
    end
    for place = 1, written do
        redis.call('HDEL', KEYS[GARBAGE], ARGV[15 + inline + written + place])
    end
    if written > 0 and redis.call('HLEN', KEYS[GARBAGE]) == 1 then
        redis.call('DEL', KEYS[GARBAGE])  -- nothing but its clock is left
    end
    redis.call('PUBLISH', ARGV[11], ARGV[12])
    return {'ok'}
end

if action == 'sweep' then
    local age_ms, revisions, gone = tonumber(ARGV[5]), tonumber(ARGV[6]), 0
    local known, found = pcall(cmsgpack.unpack, manifest_there or '')
    if not known or type(found) ~= 'table' or type(found.parts) ~= 'table' then
        return {'ok', '0'}
    end
    local age = tick()
    for place = 7, #ARGV do
        local member = ARGV[place]
        local name, version = string.match(member, '^(.*):([^:]*)$')
        local since_revision, since = string.match(redis.call('HGET', KEYS[GARBAGE], member) or '', '^(%d+):(%d+)$')
        if name and found.parts[name] == version then
            redis.call('HDEL', KEYS[GARBAGE], member)
        elseif since then
            since_revision, since = tonumber(since_revision), tonumber(since)
            if since > age or since_revision > revision then
                -- Noted before Redis went back to an older copy: it is garbage from now on.
                redis.call('HSET', KEYS[GARBAGE], member, note(math.min(since_revision, revision), age))
            elseif age - since >= age_ms and revision - since_revision >= revisions then
                redis.call('UNLINK', KEYS[PARTS + place - 6])
                redis.call('HDEL', KEYS[GARBAGE], member)
                gone = gone + 1
            end
        end
    end
    if redis.call('HLEN', KEYS[GARBAGE]) == 1 then
        redis.call('DEL', KEYS[GARBAGE])  -- nothing but its clock is left
    end
    return {'ok', tostring(gone)}
end
return redis.error_reply('ERR mediana: no action ' .. action)
