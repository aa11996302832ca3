-- wrk's script: publish messages that differ, and end after a number of answers.
--
-- Environment: MESSAGES how many; BODY_BYTES of each; HEADERS one a line.
-- "%N" in a header stands for the message's number. The last line of output is JSON.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long s, us; } benchmark_timeval;
  int gettimeofday(benchmark_timeval *now, void *zone);
]]

local most = tonumber(os.getenv("MESSAGES"))
local body_bytes = tonumber(os.getenv("BODY_BYTES"))
local sent, answered, refused = 0, 0, 0
local template, places, began_us

local function now_us()
  local now = ffi.new("benchmark_timeval")
  ffi.C.gettimeofday(now, nil)
  return tonumber(now.s) * 1000000 + tonumber(now.us)
end

init = function()
  for line in os.getenv("HEADERS"):gmatch("[^\n]+") do
    local name, value = line:match("([^:]+): (.*)")
    wrk.headers[name] = value
  end
  local start, finish = '{"n":"', '"}'
  local fill = string.rep("x", body_bytes - #start - 10 - #finish)
  local request = wrk.format("POST", nil, nil, start .. "%N" .. fill .. finish)
  -- The number has ten digits, "%N" has two characters.
  request = request:gsub("(Content%-Length: )%d+", "%1" .. body_bytes)
  template = request:gsub("%%N", "%%010d")
  _, places = request:gsub("%%N", "")
end

request = function()
  began_us = began_us or now_us()
  sent = sent + 1
  local numbers = {}
  for i = 1, places do numbers[i] = sent end
  return template:format(unpack(numbers))
end

response = function(status)
  answered = answered + 1
  if status > 299 then refused = refused + 1 end
  if answered == most then
    print(string.format(
      '{"answered":%d,"refused":%d,"us":%d}', answered, refused, now_us() - began_us))
    io.stdout:flush()
    -- wrk itself would sleep until its time is over.
    os.exit(0)
  end
end
