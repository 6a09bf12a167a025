-- Makes this worker the one writer of a shard: whoever claimed it before finds another token at its next commit.
--
-- KEYS: ledger          ARGV: token (random; a counter would roll back with Redis and be given out twice)
-- Returns the ledger's fields: contacts, conversations, seq, gap, check_contacts, check_conversations, horizon,
-- sealed; or 'missing', or 'busy' when a script once failed half way and left half a batch written.

if redis.call('EXISTS', KEYS[1]) == 0 then
    return 'missing'
end
if redis.call('HEXISTS', KEYS[1], 'busy') == 1 then
    return 'busy'
end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
return redis.call('HMGET', KEYS[1], 'contacts', 'conversations', 'seq', 'gap', 'check_contacts',
    'check_conversations', 'horizon', 'sealed')
