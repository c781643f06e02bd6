-- Puts a task as Postgres has it into the snapshot, without ever going back behind an event.
--
-- KEYS  snapshot (also the channel)
-- ARGV  epoch, seq, ttl in seconds, n, and n times: member, its value as JSON
-- Gives 1 if the position moved forward.
--
-- Postgres knows every lifecycle change up to its position. So if no lifecycle event in the snapshot is later, its
-- members win over the snapshot's, except progress that was made after that position.

local key = KEYS[1]
local e, s, ttl, members = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local have = redis.call('HMGET', key, '@e', '@s', '@le', '@ls', '@pe', '@ps', '@ge', '@gs', '@tp')
local e0, s0 = tonumber(have[1] or -1), tonumber(have[2] or -1)

local function reaches(other_e, other_s)
  other_e, other_s = tonumber(other_e or -1), tonumber(other_s or -1)
  return e > other_e or (e == other_e and s >= other_s)
end

if e > e0 or (e == e0 and s > s0) then
  redis.call('DEL', key)
  redis.call('HSET', key, '@e', e, '@s', s, '@le', e, '@ls', s, '@base', '1', unpack(ARGV, 5, 4 + 2 * members))
  if have[9] then
    redis.call('HSET', key, '@tp', have[9])
  end
  redis.call('EXPIRE', key, ttl)
  redis.call('PUBLISH', key, (have[1] and (have[1] .. ' ' .. have[2]) or '- -') .. ' ' .. e .. ' ' .. s .. ' seed 0 -\n{}')
  return 1
end

local wins, progress_wins = reaches(have[3], have[4]), reaches(have[5], have[6])
for m = 1, members do
  local name, value = ARGV[3 + 2 * m], ARGV[4 + 2 * m]
  if wins and name ~= 'epoch' and (progress_wins or name ~= 'progress') then
    redis.call('HSET', key, name, value)
  else
    redis.call('HSETNX', key, name, value)
  end
end
redis.call('HSET', key, '@base', '1')
if wins then
  redis.call('EXPIRE', key, ttl)
  if reaches(have[7], have[8]) then
    redis.call('HDEL', key, '@ge', '@gs')
  end
end
return 0
