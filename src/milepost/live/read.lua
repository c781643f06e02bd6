-- Reads snapshots and the history after a position, all in one atomic step.
--
-- KEYS  for each task: snapshot, history
-- ARGV  for each task: '' or after which entry of the history it is wanted: (ID
-- Gives for each task {fields and values of the hash, entries of the stream}; false for one that is not there.

local found = {}
for n = 1, #ARGV do
  local fields = redis.call('HGETALL', KEYS[2 * n - 1])
  if #fields == 0 then
    found[n] = false
  elseif ARGV[n] == '' then
    found[n] = { fields, {} }
  else
    found[n] = { fields, redis.call('XRANGE', KEYS[2 * n], ARGV[n], '+') }
  end
end
return found
