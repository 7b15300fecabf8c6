-- Hashes keys on the server, a small bounded part per call, reading only. Its definition stands in definition.py.
--
-- ARGV: mode, database, "1" when fields of hashes can expire, ms allowed, boundaries in ms joined by spaces, then by mode
--   scan   cursor                   keys that SCAN finds, until the time is used up
--   keys   key ...                  these keys
--   part   kind, key, position, n   a part of one large key
-- scan and keys answer {next cursor, records, keys left over, large keys, opaque}. A record is the 40 hex digits of a key's hash
-- and a letter: "-" without expiry, else "A" and the number of boundaries that are not later. A field with an expiry of its own is a
-- record too, with a small letter. A large key is {key, type, expiry}.
-- part answers {next position ("" at the end), sum of the hashes of its elements, number of elements, records of fields, 1 when there
-- were fields without an expiry, the latest expiry of the others or -1}.
-- Every answer ends in the processor time that it took, in microseconds; -1 where scripts cannot tell.
local sub, format, floor, sha1, call = string.sub, string.format, math.floor, redis.sha1hex, redis.call
local mode, db, fields_expire, allowed = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4]) / 1000

local CHUNK = 65536       -- bytes of a string that are hashed together
local ELEMENTS = 512      -- a collection of more elements is large,
local BYTES = 131072      -- or one that takes more memory
local STEP = 50           -- keys that one SCAN looks for

-- Time used: the server's processor time where scripts can ask for it (Redis 7.4, Valkey 7.2, and later), and by an estimate
-- everywhere, since one key may cost much: seconds per byte hashed, per element, per key.
local BYTE, ELEMENT, KEY = 4e-9, 2e-6, 5e-6
local has_clock, clock = pcall(function() return os.clock end)
local began = has_clock and clock() or 0
local estimate, asked, over = 0, 0, false

local function used_up()
  if over or estimate > allowed then return true end
  asked = asked + 1
  over = has_clock and asked % 8 == 0 and clock() - began > allowed
  return over
end

local function used()
  return has_clock and floor((clock() - began) * 1e6) or -1
end

local function frame(text)
  return #text .. ':' .. text
end

local function integer(number)
  return format('%.0f', number)
end

-- The sum of hashes modulo 2^160, as four limbs of 40 bits: doubles add 4,096 of them exactly.
local LIMB = 2 ^ 40
local a, b, c, d, added = 0, 0, 0, 0, 0

local function carry()
  local carried = floor(d / LIMB)
  c, d = c + carried, d - carried * LIMB
  carried = floor(c / LIMB)
  b, c = b + carried, c - carried * LIMB
  carried = floor(b / LIMB)
  a, b = a + carried, b - carried * LIMB
  a, added = a % LIMB, 0
end

local function add(text)
  local hash = sha1(text)
  a = a + tonumber(sub(hash, 1, 10), 16)
  b = b + tonumber(sub(hash, 11, 20), 16)
  c = c + tonumber(sub(hash, 21, 30), 16)
  d = d + tonumber(sub(hash, 31, 40), 16)
  added = added + 1
  if added == 4096 then carry() end
  estimate = estimate + #text * BYTE + ELEMENT
end

local function total()
  carry()
  local sum = format('%010x%010x%010x%010x', a, b, c, d)
  a, b, c, d = 0, 0, 0, 0
  return sum
end

local boundaries = {}
for word in string.gmatch(ARGV[5], '%S+') do boundaries[#boundaries + 1] = tonumber(word) end
local records, left_over, large, opaque = {}, {}, {}, 0

local function letter_of(first, time)
  local index = 0
  while index < #boundaries and boundaries[index + 1] <= time do index = index + 1 end
  return string.char(first + index)
end

-- Of the hash at hand: whether it has fields without an expiry, and when the last of the others expires.
local lasting, longest = false, -1

-- Fields that go by themselves are hashed apart: what is left of the hash is the same before and after.
local function add_fields(key, flat)
  local times, expiry
  if fields_expire and #flat > 0 then
    local names = {}
    for i = 1, #flat, 2 do names[#names + 1] = flat[i] end
    times = call('HPEXPIRETIME', key, 'FIELDS', #names, unpack(names))
  end
  for i = 1, #flat, 2 do
    local time = times and times[(i + 1) / 2] or -1
    if time == -1 then
      lasting = true
      add(frame(flat[i]) .. frame(flat[i + 1]) .. '2:-1')
    elseif time >= 0 then
      expiry = expiry or call('PEXPIRETIME', key)
      local text = frame(db) .. frame(key) .. 'f' .. frame(integer(time)) .. frame(flat[i]) .. frame(flat[i + 1])
      records[#records + 1] = sha1(text)
      records[#records + 1] = letter_of(97, expiry >= 0 and expiry < time and expiry or time)
      if time > longest then longest = time end
      estimate = estimate + #text * BYTE + ELEMENT
    end
  end
  return #flat / 2
end

local function add_elements(first, elements)
  for i = 1, #elements do add(frame(integer(first + i - 1)) .. frame(elements[i])) end
  return #elements
end

local function add_members(members)
  for i = 1, #members do add(frame(members[i])) end
  return #members
end

local function add_scores(flat)
  for i = 1, #flat, 2 do add(frame(flat[i]) .. frame(format('%.17g', tonumber(flat[i + 1])))) end
  return #flat / 2
end

local function add_entries(entries)
  for _, entry in ipairs(entries) do
    local parts = {'e', frame(entry[1])}
    for _, word in ipairs(entry[2]) do parts[#parts + 1] = frame(word) end
    add(table.concat(parts))
  end
  return #entries
end

local function named(flat)
  local values = {}
  for i = 1, #flat, 2 do values[flat[i]] = flat[i + 1] end
  return values
end

-- What a stream has beside its entries and what is pending; answers the names of its groups.
local function add_stream_state(key)
  local stream = named(call('XINFO', 'STREAM', key))
  add('m' .. frame(stream['last-generated-id']) .. frame(stream['max-deleted-entry-id']) .. frame(integer(stream['entries-added'])))
  local groups = {}
  for _, flat in ipairs(call('XINFO', 'GROUPS', key)) do
    local group = named(flat)
    local read = group['entries-read'] and integer(group['entries-read']) or 'nil'
    add('g' .. frame(group['name']) .. frame(group['last-delivered-id']) .. frame(read))
    groups[#groups + 1] = group['name']
    for _, consumer in ipairs(call('XINFO', 'CONSUMERS', key, group['name'])) do
      add('c' .. frame(group['name']) .. frame(named(consumer)['name']))
    end
  end
  return groups
end

local function milliseconds()
  local time = call('TIME')
  return time[1] * 1000 + floor(time[2] / 1000)
end

-- XPENDING tells how long ago an entry was delivered; the moment follows when the clock stood still meanwhile.
local function add_pending(key, group, from, count)
  for _ = 1, 50 do
    local before = milliseconds()
    local rows = call('XPENDING', key, group, from, '+', count)
    if milliseconds() == before then
      for _, row in ipairs(rows) do
        add('p' .. frame(group) .. frame(row[1]) .. frame(row[2]) .. frame(integer(before - row[3])) .. frame(integer(row[4])))
      end
      return rows
    end
  end
  return error('the clock moved during each of 50 readings of pending entries')
end

local SIZE = {list = 'LLEN', set = 'SCARD', zset = 'ZCARD', hash = 'HLEN', stream = 'XLEN'}
local WHOLE = {
  list = function(key) add_elements(0, call('LRANGE', key, 0, -1)) end,
  set = function(key) add_members(call('SMEMBERS', key)) end,
  zset = function(key) add_scores(call('ZRANGE', key, 0, -1, 'WITHSCORES')) end,
  hash = function(key) add_fields(key, call('HGETALL', key)) end,
  stream = function(key)
    add_entries(call('XRANGE', key, '-', '+'))
    for _, group in ipairs(add_stream_state(key)) do
      local from = '-'
      repeat
        local rows = add_pending(key, group, from, 100)
        if #rows > 0 then from = '(' .. rows[#rows][1] end
      until #rows < 100
    end
  end,
}

-- Adds the elements of a key; false when it is large.
local function add_value(key, kind)
  if kind == 'string' then
    local value = call('GETRANGE', key, 0, CHUNK - 1)
    if #value == CHUNK and call('STRLEN', key) > CHUNK then return false end
    if value ~= '' then add('1:0' .. value) end
    return true
  end
  if not SIZE[kind] then
    opaque = opaque + 1
    add('d' .. sub(call('DUMP', key), 1, -11))  -- without its version and checksum
    return true
  end
  if call(SIZE[kind], key) > ELEMENTS or call('MEMORY', 'USAGE', key, 'SAMPLES', 0) > BYTES then return false end
  WHOLE[kind](key)
  return true
end

local function take(key)
  if used_up() then
    left_over[#left_over + 1] = key
    return
  end
  local kind = call('TYPE', key)['ok']
  if kind == 'none' then return end
  local expiry = call('PEXPIRETIME', key)
  if expiry == -2 then return end
  local time = integer(expiry)
  lasting, longest = false, -1
  if not add_value(key, kind) then
    large[#large + 1] = {key, kind, time}
    return
  end
  local ends = expiry
  if longest >= 0 and not lasting and (ends < 0 or longest < ends) then ends = longest end
  records[#records + 1] = sha1(frame(db) .. frame(key) .. frame(kind) .. frame(time) .. total())
  records[#records + 1] = ends >= 0 and letter_of(65, ends) or '-'
  estimate = estimate + KEY
end

local function after(id)
  return id == '' and '-' or '(' .. id
end

local PART = {
  string = function(key, position, count)
    local first = tonumber(position)
    for index = first, first + count - 1 do
      local chunk = call('GETRANGE', key, integer(index * CHUNK), integer((index + 1) * CHUNK - 1))
      if chunk ~= '' then add(frame(integer(index)) .. chunk) end
      if #chunk < CHUNK then return '', index - first end
    end
    return integer(first + count), count
  end,
  list = function(key, position, count)
    local first = tonumber(position)
    local found = add_elements(first, call('LRANGE', key, integer(first), integer(first + count - 1)))
    return found < count and '' or integer(first + count), found
  end,
  set = function(key, position, count)
    local step = call('SSCAN', key, position, 'COUNT', count)
    return step[1] == '0' and '' or step[1], add_members(step[2])
  end,
  hash = function(key, position, count)
    local step = call('HSCAN', key, position, 'COUNT', count)
    return step[1] == '0' and '' or step[1], add_fields(key, step[2])
  end,
  zset = function(key, position, count)
    local step = call('ZSCAN', key, position, 'COUNT', count)
    return step[1] == '0' and '' or step[1], add_scores(step[2])
  end,
  stream = function(key, position, count)
    local entries = call('XRANGE', key, after(position), '+', 'COUNT', count)
    return add_entries(entries) < count and '' or entries[#entries][1], #entries
  end,
  state = function(key)
    return '', #add_stream_state(key)
  end,
  pending = function(key, position, count)
    local rows = add_pending(key, ARGV[10], after(position), count)
    return #rows < count and '' or rows[#rows][1], #rows
  end,
}

if mode == 'part' then
  local following, found = PART[ARGV[6]](ARGV[7], ARGV[8], tonumber(ARGV[9]))
  return {following, total(), found, table.concat(records), lasting and 1 or 0, integer(longest), used()}
end

local cursor = '0'
if mode == 'scan' then
  cursor = ARGV[6]
  repeat
    local step = call('SCAN', cursor, 'COUNT', STEP)
    cursor = step[1]
    for _, key in ipairs(step[2]) do take(key) end
  until cursor == '0' or used_up()
else
  for i = 6, #ARGV do take(ARGV[i]) end
end
return {cursor, table.concat(records), left_over, large, opaque, used()}
