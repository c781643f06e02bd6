-- Reads snapshots, the history after a position and what was streamed last, all in one atomic step.
--
-- KEYS  for each task: snapshot, history, what it streamed
-- ARGV  for each task: '' or after which entry of the history it is wanted: (ID; how many of the last streamed
-- Gives for each task {fields and values of the hash, entries of the history, milliseconds until the hash goes, entries
-- of what was streamed, newest first}; false for one that is not there. The time to live is set with every event, so it
-- says how long ago the last one was applied, without a member for that.

local found = {}
for n = 1, #ARGV / 2 do
  local snapshot, history, streamed = KEYS[3 * n - 2], KEYS[3 * n - 1], KEYS[3 * n]
  local since, last = ARGV[2 * n - 1], ARGV[2 * n]
  local fields = redis.call('HGETALL', snapshot)
  if #fields == 0 then
    found[n] = false
  else
    found[n] = {
      fields,
      since == '' and {} or redis.call('XRANGE', history, since, '+'),
      redis.call('PTTL', snapshot),
      last == '0' and {} or redis.call('XREVRANGE', streamed, '+', '-', 'COUNT', last),
    }
  end
end
return found
