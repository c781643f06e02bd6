-- Applies events in order. One call is atomic: a reader sees an event in the snapshot, in the history and as a
-- message, or nowhere.
--
-- KEYS  for each event: its snapshot (a hash; also the name of the channel), its history (a stream)
-- ARGV  for each event: epoch, seq, merged: so many numbers before are in it, lifecycle (1|0; 2: it is streamed, and n
--       is 0), base: it holds the whole task (0: no; 1: among its members; 2: the text is the whole task, and n is 0),
--       ttl in seconds (0: leave that of the history, and the snapshot's is that of an open task),
--       finished (1|0, '' if it does not say), traceparent or '', header without its first two words, text, parent: the
--       id of the task's parent if the event holds the whole task and it has one, else '', n, and n times: member, its
--       value as JSON
-- Gives the number of events that were news. What is news is told on the task's channel, and to a tenant's feed if
-- anybody listens: many events in one message there, each as the task's id, a space, its message, and a line's end.
-- A child that is new, or begins anew, is told on its parent's channel too: a plus, its id, a space, its message. So is
-- one whose first event comes late, for no other says whose child it is. A feed is told such a task whole then, as it is
-- by now: it has heard of changes of a task that it cannot know.

local function newer(e, s, than_e, than_s)
  return e > than_e or (e == than_e and s > than_s)
end

local function follows(e, from, e0, s0)
  return (e == e0 and from <= s0 + 1) or (e == e0 + 1 and from == 0)
end

local FEED_BYTES = 262144 -- of one message; a larger one would hold up whoever reads it
local ID = 36 -- characters of a task's id, the end of its key

local feeds = {}

local function tell(channel, feed)
  redis.call('PUBLISH', channel, table.concat(feed.told))
  feed.told, feed.size = {}, 0
end

local function feed_of(key)
  local channel = string.sub(key, 1, -ID - 1) .. 'feed'
  local feed = feeds[channel]
  if feed == nil then
    feed = { told = {}, size = 0, heard = redis.call('PUBSUB', 'NUMSUB', channel)[2] > 0 }
    feeds[channel] = feed
  end
  return channel, feed
end

local function tell_feed(key, message)
  local channel, feed = feed_of(key)
  if feed.heard then
    feed.told[#feed.told + 1] = string.sub(key, -ID) .. ' ' .. message .. '\n'
    feed.size = feed.size + #message
    if feed.size > FEED_BYTES then
      tell(channel, feed)
    end
  end
end

local function publish(key, message, beside)
  redis.call('PUBLISH', key, message)
  if not beside then -- a feed tells of tasks, not of their output
    tell_feed(key, message)
  end
end

-- The whole task of a snapshot in parts. What is said twice counts as it was said last.
local function text_of(key)
  local fields, row, parts = redis.call('HGETALL', key), nil, {}
  for f = 1, #fields, 2 do
    if fields[f] == '@row' then
      row = fields[f + 1]
    elseif string.sub(fields[f], 1, 1) ~= '@' then
      parts[#parts + 1] = cjson.encode(fields[f]) .. ':' .. fields[f + 1]
    end
  end
  local text = table.concat(parts, ',')
  if row == nil then
    return '{' .. text .. '}'
  end
  return text == '' and row or (string.sub(row, 1, -2) .. ',' .. text .. '}')
end

local function tell_whole(key, e, s, head)
  local kind, trace = string.match(head, '^%S+ %S+ (%S+) %S+ %S+ (%S+)$')
  tell_feed(key, '- - ' .. e .. ' ' .. s .. ' ' .. kind .. ' 4 0 ' .. trace .. '\n' .. text_of(key))
end

local function announce(key, parent, message)
  local id = string.sub(key, -ID)
  redis.call('PUBLISH', string.sub(key, 1, -ID - 1) .. parent, '+' .. id .. ' ' .. message)
end

-- An event that came late still says what never changes: the worker's first one may overtake the API's.
local function complete(key, i, members, finished, whole)
  if whole then
    redis.call('HSET', key, '@row', ARGV[i + 9])
  end
  for m = 1, members do
    redis.call('HSETNX', key, ARGV[i + 10 + 2 * m], ARGV[i + 11 + 2 * m])
  end
  if finished ~= '' then
    redis.call('HSETNX', key, '@fin', finished)
  end
  redis.call('HSET', key, '@base', '1')
end

-- What is streamed is kept apart as well, where progress cannot push it out.
local function stream(key, e, s, head, text)
  local id = (e + 1) .. '-' .. s
  local added = redis.pcall('XADD', key .. STREAMED, 'MAXLEN', '~', '256', id, string.match(head, '^%S+ %S+ (%S+) '), text)
  if type(added) == 'table' and added.err then
    return -- a copy; or the snapshot was evicted and this was not: it is told, and that is all
  end
  redis.call('PEXPIRE', key .. STREAMED, redis.call('PTTL', key))
end

local function apply(key, history, i, members)
  local e, s = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local from = s - tonumber(ARGV[i + 2])
  local lifecycle, base, whole, ttl = ARGV[i + 3] == '1', ARGV[i + 4] ~= '0', ARGV[i + 4] == '2', tonumber(ARGV[i + 5])
  local finished, trace, parent = ARGV[i + 6], ARGV[i + 7], ARGV[i + 10]
  local have = redis.pcall('HMGET', key, '@e', '@s', '@base', '@h', '@fin', '@late')
  if have.err then
    redis.call('DEL', key) -- not a hash: not ours, and no reason to stand still
    have = { false, false, false, false, false, false }
  end
  local e0, s0 = tonumber(have[1] or -1), tonumber(have[2] or -1)
  local head0 = not have[1] and have[4]
  if head0 then
    e0, s0 = place_of(head0)
  end
  local known = have[1] or head0
  if known and not newer(e, s, e0, s0) then
    if base and not head0 and not have[3] then
      complete(key, i, members, finished, whole)
      if parent ~= '' then
        announce(key, parent, '- - ' .. ARGV[i + 8] .. '\n' .. ARGV[i + 9])
      end
    elseif ARGV[i + 3] == '2' then
      stream(key, e, s, ARGV[i + 8], ARGV[i + 9]) -- the snapshot was moved past it from Postgres
    end
    if base and have[6] then
      redis.call('HDEL', key, '@late')
      tell_whole(key, e0, s0, ARGV[i + 8])
    end
    return 0
  end
  local head = (known and (e0 .. ' ' .. s0) or '- -') .. ' ' .. ARGV[i + 8]
  local message = head .. '\n' .. ARGV[i + 9]
  local begins = parent ~= '' and (not known or have[5] == '1' or (head0 and is_last(head0)))

  if whole then
    if have[1] then
      redis.call('DEL', key)
      redis.call('EXPIRE', history, ttl)
      redis.call('EXPIRE', key .. STREAMED, ttl)
    elseif head0 and kept(e0, s0) then
      keep(history, e0, s0, head0 .. '\n' .. redis.call('HGET', key, '@row'))
      redis.call('EXPIRE', history, ttl)
    end
    redis.call('HSET', key, '@h', head, '@row', ARGV[i + 9])
    redis.call('EXPIRE', key, ttl)
    publish(key, message)
    if begins then
      announce(key, parent, message)
    end
    return 1
  end

  if head0 then
    take_apart(key, history, head0)
  end
  local set = { '@e', e, '@s', s }
  if lifecycle then
    set[5], set[6], set[7], set[8] = '@le', e, '@ls', s
  elseif members > 0 then
    set[5], set[6], set[7], set[8] = '@pe', e, '@ps', s
  end
  if base then
    set[#set + 1], set[#set + 2] = '@base', '1'
    if known then
      redis.call('HDEL', key, '@ge', '@gs', '@late')
    end
  end
  if finished ~= '' then
    set[#set + 1], set[#set + 2] = '@fin', finished
  end
  if trace ~= '' then
    set[#set + 1], set[#set + 2] = '@tp', trace
  end
  local first = not known and e == 1 and from == 0 -- overtook the API's event, see above
  if not base and first then
    set[#set + 1], set[#set + 2] = '@late', '1'
  elseif not base and not (known and follows(e, from, e0, s0)) then
    set[#set + 1], set[#set + 2] = '@ge', e
    set[#set + 1], set[#set + 2] = '@gs', s
  end
  for m = 1, members do
    set[#set + 1], set[#set + 2] = ARGV[i + 10 + 2 * m], ARGV[i + 11 + 2 * m]
  end
  redis.call('HSET', key, unpack(set))
  local remembered = known or kept(e, s)
  if remembered then
    keep(history, e, s, message)
  end
  redis.call('EXPIRE', key, ttl > 0 and ttl or OPEN_TTL) -- each time, see read.lua
  if remembered and (ttl > 0 or not known) then
    redis.call('EXPIRE', history, ttl > 0 and ttl or OPEN_TTL)
  end
  if ARGV[i + 3] == '2' then
    stream(key, e, s, ARGV[i + 8], ARGV[i + 9])
  elseif ttl > 0 then
    redis.call('EXPIRE', key .. STREAMED, ttl)
  end
  publish(key, message, ARGV[i + 3] == '2')
  if begins then
    announce(key, parent, message)
  end
  return 1
end

local news, i = 0, 1
for k = 1, #KEYS, 2 do
  local members = tonumber(ARGV[i + 11])
  news = news + apply(KEYS[k], KEYS[k + 1], i, members)
  i = i + 12 + 2 * members
end
for channel, feed in pairs(feeds) do
  if #feed.told > 0 then
    tell(channel, feed)
  end
end
return news
