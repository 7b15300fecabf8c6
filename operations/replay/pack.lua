-- Answers RESTORE commands ready for the wire, so that whoever asks only passes bytes on. Reads only.
--
-- ARGV: bytes allowed, bytes from which a key is large, key ...
-- Answers {commands, their number, keys of ARGV that were looked at, large keys}. A large key is {key, type, expiry in ms or -1}.
-- Expiries are absolute. Streams and types of modules are never large: only DUMP has all that they hold.
local call = redis.call
local allowed, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local IN_PARTS = {string = true, list = true, set = true, zset = true, hash = true}
local out, count, bytes, large, last = {}, 0, 0, {}, #ARGV

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
        local until_when = expiry < 0 and '0' or time
        out[#out + 1] = (expiry < 0 and '*5\r\n$7\r\nRESTORE\r\n$' or '*6\r\n$7\r\nRESTORE\r\n$') .. #key .. '\r\n' .. key
          .. '\r\n$' .. #until_when .. '\r\n' .. until_when .. '\r\n$' .. #value .. '\r\n' .. value
          .. (expiry < 0 and '\r\n$7\r\nREPLACE\r\n' or '\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n')
        count = count + 1
        bytes = bytes + #value + #key + 60
      end
    end
  end
end
return {table.concat(out), count, last - 2, large}
