-- Answers RESTORE commands ready for the wire, so that whoever asks only passes bytes on. Reads only.
--
-- ARGV: bytes allowed, bytes from which a key is large, key ...
-- Answers {commands, their number, keys of ARGV that were looked at, large keys}. A large key is {key, type, expiry in ms or -1}.
-- Expiries are absolute. Streams and types of modules are never large: only DUMP has all that they hold.
local call = redis.call
local allowed, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local IN_PARTS = {string = true, list = true, set = true, zset = true, hash = true}
local out, count, bytes, large, last = {}, 0, 0, {}, #ARGV

local function put(text)
  out[#out + 1] = '$' .. #text .. '\r\n'
  out[#out + 1] = text
  out[#out + 1] = '\r\n'
end

for i = 3, #ARGV do
  if bytes > allowed then
    last = i - 1
    break
  end
  local key = ARGV[i]
  local size = call('MEMORY', 'USAGE', key, 'SAMPLES', 5)
  local kind = size and size > limit and call('TYPE', key)['ok']
  if size then
    local expiry = call('PEXPIRETIME', key)
    local time = string.format('%.0f', expiry)
    if kind and IN_PARTS[kind] then
      large[#large + 1] = {key, kind, time}
    else
      local value = call('DUMP', key)
      if value then
        out[#out + 1] = expiry < 0 and '*5\r\n$7\r\nRESTORE\r\n' or '*6\r\n$7\r\nRESTORE\r\n'
        put(key)
        put(expiry < 0 and '0' or time)
        put(value)
        out[#out + 1] = expiry < 0 and '$7\r\nREPLACE\r\n' or '$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n'
        count = count + 1
        bytes = bytes + #value + #key + 60
      end
    end
  end
end
return {table.concat(out), count, last - 2, large}
