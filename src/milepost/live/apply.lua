-- Applies events in order. One call is atomic: a reader sees an event in the snapshot, in the history and as a
-- message, or nowhere.
--
-- KEYS  for each event: its snapshot (a hash; also the name of the channel), its history (a stream)
-- ARGV  for each event: epoch, seq, lifecycle (1|0), base: it holds the whole task (1|0), ttl in seconds (0: leave
--       it), traceparent or '', message, n, and n times: member, its value as JSON
-- Gives the number of events that were news.
--
-- Fields beside the members: @e @s position; @le @ls position of the last lifecycle event; @pe @ps that of the last
-- progress; @ge @gs that of the last event that showed by its number that one before it was missed, until the whole
-- task is seen again; @tp traceparent; @base the members that never change are there.
-- An entry of the history has the id (epoch + 1)-seq, because 0-0 is no id.

local function newer(e, s, than_e, than_s)
  return e > than_e or (e == than_e and s > than_s)
end

local function follows(e, s, e0, s0)
  return (e == e0 and s == s0 + 1) or (e == e0 + 1 and s == 0)
end

local function apply(key, history, i, members)
  local e, s = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local lifecycle, base, ttl, trace = ARGV[i + 2] == '1', ARGV[i + 3] == '1', tonumber(ARGV[i + 4]), ARGV[i + 5]
  local have = redis.pcall('HMGET', key, '@e', '@s', '@base')
  if have.err then
    redis.call('DEL', key) -- not a hash: not ours, and no reason to stand still
    have = { false, false, false }
  end
  local known = have[1]
  local e0, s0 = tonumber(have[1] or -1), tonumber(have[2] or -1)
  if known and not newer(e, s, e0, s0) then
    -- The worker's first event may overtake the API's: the late one still says what never changes.
    if base and not have[3] then
      for m = 1, members do
        redis.call('HSETNX', key, ARGV[i + 6 + 2 * m], ARGV[i + 7 + 2 * m])
      end
      redis.call('HSET', key, '@base', '1')
    end
    return 0
  end
  local set = { '@e', e, '@s', s }
  if lifecycle then
    set[5], set[6], set[7], set[8] = '@le', e, '@ls', s
  elseif members > 0 then
    set[5], set[6], set[7], set[8] = '@pe', e, '@ps', s
  end
  if base then
    set[#set + 1], set[#set + 2] = '@base', '1'
    redis.call('HDEL', key, '@ge', '@gs')
  end
  if trace ~= '' then
    set[#set + 1], set[#set + 2] = '@tp', trace
  end
  local first = not known and e == 1 and s == 0 -- overtook the API's event, see above
  if not base and not first and not (known and follows(e, s, e0, s0)) then
    set[#set + 1], set[#set + 2] = '@ge', e
    set[#set + 1], set[#set + 2] = '@gs', s
  end
  for m = 1, members do
    set[#set + 1], set[#set + 2] = ARGV[i + 6 + 2 * m], ARGV[i + 7 + 2 * m]
  end
  redis.call('HSET', key, unpack(set))
  local message = (known and (have[1] .. ' ' .. have[2]) or '- -') .. ' ' .. ARGV[i + 6]
  local id = (e + 1) .. '-' .. s
  local added = redis.pcall('XADD', history, 'MAXLEN', '~', '256', id, 'm', message)
  if type(added) == 'table' and added.err then
    -- The snapshot was evicted and its history was not: what is left of it belongs to nothing.
    redis.call('DEL', history)
    redis.call('XADD', history, id, 'm', message)
  end
  if ttl > 0 or not known then
    redis.call('EXPIRE', key, ttl > 0 and ttl or 604800)
    redis.call('EXPIRE', history, ttl > 0 and ttl or 604800)
  end
  redis.call('PUBLISH', key, message)
  return 1
end

local news, i = 0, 1
for k = 1, #KEYS, 2 do
  local members = tonumber(ARGV[i + 7])
  news = news + apply(KEYS[k], KEYS[k + 1], i, members)
  i = i + 8 + 2 * members
end
return news
