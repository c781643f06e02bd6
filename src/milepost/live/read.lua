-- Reads a snapshot and the history after a position in one atomic step.
--
-- KEYS  snapshot, history
-- ARGV  nothing, or the epoch and seq after which history is wanted
-- Gives {fields and values of the hash, entries of the stream}.

local fields = redis.call('HGETALL', KEYS[1])
if #ARGV == 0 or #fields == 0 then
  return { fields, {} }
end
return { fields, redis.call('XRANGE', KEYS[2], '(' .. (tonumber(ARGV[1]) + 1) .. '-' .. ARGV[2], '+') }
