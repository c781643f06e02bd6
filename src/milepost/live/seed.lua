-- Puts tasks as Postgres has them into the snapshots, without ever going back behind an event.
--
-- KEYS  for each task: its snapshot (also the channel), its history
-- ARGV  for each task: epoch, seq, ttl in seconds, finished (1|0), row: the whole task as JSON or '', n, and n times:
--       member, its value as JSON
-- Gives for each task 1 if the position moved forward, 0 if it did not; -1 if it did not and nothing was done, because
-- the members have to be given one by one.
--
-- Postgres knows every lifecycle change up to its position. So if no lifecycle event in the snapshot is later, its
-- members win over the snapshot's, except progress that was made after that position. Where that mends a snapshot that
-- had missed something, those who watch are told so: the events they had lack it too.

local function seed(key, history, i, members)
  local e, s, ttl, finished, row = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local have = redis.call('HMGET', key, '@e', '@s', '@le', '@ls', '@pe', '@ps', '@ge', '@gs', '@tp', '@row', '@h', '@late', '@base')
  local e0, s0 = tonumber(have[1] or -1), tonumber(have[2] or -1)
  local head0 = not have[1] and have[11]
  if head0 then
    e0, s0 = place_of(head0)
  end
  local known = have[1] or head0

  local function reaches(other_e, other_s)
    other_e, other_s = tonumber(other_e or -1), tonumber(other_s or -1)
    return e > other_e or (e == other_e and s >= other_s)
  end

  if e > e0 or (e == e0 and s > s0) then
    if head0 then
      take_apart(key, history, head0)
      have[9] = redis.call('HGET', key, '@tp')
    end
    if known then
      redis.call('DEL', key)
    end
    local set = { '@e', e, '@s', s, '@le', e, '@ls', s, '@base', '1', '@fin', finished }
    if row ~= '' then
      set[#set + 1], set[#set + 2] = '@row', row
    end
    if have[9] then
      set[#set + 1], set[#set + 2] = '@tp', have[9]
    end
    if have[12] then
      set[#set + 1], set[#set + 2] = '@late', have[12]
    end
    redis.call('HSET', key, unpack(set))
    if members > 0 then
      redis.call('HSET', key, unpack(ARGV, i + 6, i + 5 + 2 * members))
    end
    redis.call('EXPIRE', key, ttl)
    redis.call(
      'PUBLISH', key, (known and (e0 .. ' ' .. s0) or '- -') .. ' ' .. e .. ' ' .. s .. ' seed 0 0 -\n{}'
    )
    return 1
  end

  if head0 and (e < e0 or s < s0) then
    return 0 -- the whole task is there, and newer
  end
  if row ~= '' then
    return -1
  end
  if head0 then
    take_apart(key, history, head0)
    have[3], have[4] = e0, s0
  end
  local there = have[10] and cjson.decode(have[10]) or {}
  local wins, progress_wins = reaches(have[3], have[4]), reaches(have[5], have[6])
  for m = 1, members do
    local name, value = ARGV[i + 4 + 2 * m], ARGV[i + 5 + 2 * m]
    if wins and name ~= 'epoch' and (progress_wins or name ~= 'progress') then
      redis.call('HSET', key, name, value)
    elseif there[name] == nil then
      redis.call('HSETNX', key, name, value)
    end
  end
  redis.call(wins and 'HSET' or 'HSETNX', key, '@fin', finished)
  redis.call('HSET', key, '@base', '1')
  if wins then
    redis.call('EXPIRE', key, ttl)
    if reaches(have[7], have[8]) then
      redis.call('HDEL', key, '@ge', '@gs')
    end
  end
  if (have[7] or not (have[13] or head0)) and redis.call('HEXISTS', key, '@ge') == 0 then
    local at = e0 .. ' ' .. s0
    redis.call('PUBLISH', key, at .. ' ' .. at .. ' mended 0 0 -\n{}')
  end
  return 0
end

local moved, i = {}, 1
for k = 1, #KEYS, 2 do
  local members = tonumber(ARGV[i + 5])
  moved[#moved + 1] = seed(KEYS[k], KEYS[k + 1], i, members)
  i = i + 6 + 2 * members
end
return moved
