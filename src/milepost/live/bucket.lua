-- Take what is there of what is wanted from a bucket that fills steadily. By the clock of Redis, which all instances share.
-- KEYS[1] the bucket. ARGV: its size, seconds in which it fills, how many are wanted.
-- Returns how many were taken, how many are left, and in how many milliseconds there will be one (0: there is).
local size, per, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local was = redis.call('HMGET', KEYS[1], 'n', 't')
local full = size
if was[1] and was[2] then
  -- A clock that was set back fills nothing and takes nothing away.
  full = math.min(size, tonumber(was[1]) + math.max(0, now - tonumber(was[2])) * size / per)
end
local taken = math.min(wanted, math.floor(full))
full = full - taken
redis.call('HSET', KEYS[1], 'n', string.format('%.6f', full), 't', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(per * 1000) + 1000) -- by then it is full, as one that is not there is
return { taken, math.floor(full), math.ceil(math.max(0, 1 - full) * per / size * 1000) }
