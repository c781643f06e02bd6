-- What the scripts share; put before each of them. A snapshot is a hash, in one of two forms:
--
-- Whole, when the last event held the whole task, as the first and the last one do, and those of most short tasks:
--   @h    that event's header line, see wire.py
--   @row  its text: the whole task as one JSON text
-- In parts, after any other event:
--   @e @s position; @le @ls position of the last lifecycle event; @pe @ps that of the last progress; @ge @gs that of the
--   last event that showed by its number that one before it was missed, until the whole task is seen again; @tp
--   traceparent; @base the members that never change are there; @late if the event that says them was overtaken, and
--   feeds wait for it; @fin 1 if the task is over; @row the whole task, if it was ever seen so; and members with fields of their own, newer than what @row says of them.
-- If there is @e the snapshot is in parts, whatever else is there.
--
-- The history (a stream) has the events before the one that @h tells of. Its ids are (epoch + 1)-seq: 0-0 is no id.

-- A second stream, named like the snapshot with STREAMED behind it, has what handlers streamed: the same ids, the kind and
-- the text. Only tasks that stream have one.

local OPEN_TTL = 604800
local STREAMED = ':s'

local function keep(history, e, s, message)
  local id = (e + 1) .. '-' .. s
  local added = redis.pcall('XADD', history, 'MAXLEN', '~', '256', id, 'm', message)
  if type(added) == 'table' and added.err then
    -- The snapshot was evicted and its history was not: what is left of it belongs to nothing.
    redis.call('DEL', history)
    redis.call('XADD', history, id, 'm', message)
  end
end

local function kept(e, s)
  return e > 0 or s > 0 -- nobody comes back from before the very first event
end

local function place_of(head)
  local e, s = string.match(head, '^%S+ %S+ (%d+) (%d+) ')
  return tonumber(e), tonumber(s)
end

local function is_last(head)
  return string.find(head, '^%S+ %S+ %d+ %d+ %S+ 3 ') ~= nil
end

-- Puts what a header says into the fields of a snapshot in parts, and its event into the history.
local function take_apart(key, history, head)
  local e, s, sort, trace = string.match(head, '^%S+ %S+ (%d+) (%d+) %S+ (%d) %d+ (%S+)$')
  if kept(tonumber(e), tonumber(s)) then
    keep(history, tonumber(e), s, head .. '\n' .. redis.call('HGET', key, '@row'))
    redis.call('EXPIRE', history, OPEN_TTL)
  end
  redis.call('HSET', key, '@e', e, '@s', s, '@le', e, '@ls', s, '@base', '1', '@fin', sort == '3' and '1' or '0')
  if trace ~= '-' then
    redis.call('HSET', key, '@tp', trace)
  end
  redis.call('HDEL', key, '@h')
end

