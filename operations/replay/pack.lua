-- Answers commands ready for the wire that write keys as they are here, so that whoever asks only passes bytes on. Reads only.
--
-- ARGV: bytes allowed, bytes from which a key is large, key ...
-- Answers {commands, their number, keys of ARGV that were looked at, large keys}. A large key is {key, type, expiry in ms or -1}.
-- Expiries are absolute. Strings become SET, which costs this server and its targets less than DUMP and RESTORE; all else, and a
-- string that follows something else, becomes RESTORE. Streams and types of modules are never large: only DUMP has all they hold.
local call, pcall, byte, format = redis.call, redis.pcall, string.byte, string.format
local allowed, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local IN_PARTS = {string = true, list = true, set = true, zset = true, hash = true}
local out, count, bytes, large, last = {}, 0, 0, {}, #ARGV

local function set(key, value, expiry)
  if expiry < 0 then
    return '*3\r\n$3\r\nSET\r\n$' .. #key .. '\r\n' .. key .. '\r\n$' .. #value .. '\r\n' .. value .. '\r\n'
  end
  local time = format('%.0f', expiry)
  return '*5\r\n$3\r\nSET\r\n$' .. #key .. '\r\n' .. key .. '\r\n$' .. #value .. '\r\n' .. value .. '\r\n$4\r\nPXAT\r\n$' .. #time
    .. '\r\n' .. time .. '\r\n'
end

local function restore(key, value, expiry)
  local time = expiry < 0 and '0' or format('%.0f', expiry)
  return (expiry < 0 and '*5' or '*6') .. '\r\n$7\r\nRESTORE\r\n$' .. #key .. '\r\n' .. key .. '\r\n$' .. #time .. '\r\n' .. time
    .. '\r\n$' .. #value .. '\r\n' .. value .. '\r\n$7\r\nREPLACE\r\n' .. (expiry < 0 and '' or '$6\r\nABSTTL\r\n')
end

local function put(command)
  count = count + 1
  out[count] = command
  bytes = bytes + #command
end

-- A key is first taken for a string when the one before was: that saves to ask, and a wrong guess costs as much as asking.
local strings = true
for i = 3, #ARGV do
  if bytes > allowed then
    last = i - 1
    break
  end
  local key = ARGV[i]
  local expiry = call('PEXPIRETIME', key)
  if expiry ~= -2 then
    local text = strings and pcall('GETRANGE', key, 0, limit - 1)
    if type(text) == 'string' and #text < limit then
      put(set(key, text, expiry))
    else
      local kind = call('MEMORY', 'USAGE', key, 'SAMPLES', 5) > limit and call('TYPE', key)['ok']
      if IN_PARTS[kind] then
        large[#large + 1] = {key, kind, format('%.0f', expiry)}
      else
        local value = call('DUMP', key)
        strings = byte(value) == 0  -- the type, as in an RDB
        put(restore(key, value, expiry))
      end
    end
  end
end
return {table.concat(out), count, last - 2, large}
