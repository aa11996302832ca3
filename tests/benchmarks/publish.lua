-- wrk's script: publish messages that differ, and stop after a number of them.
--
-- Environment: MESSAGES how many; BODY_BYTES of each; HEADERS one a line.
-- "%N" in a header stands for the message's number.

local most = tonumber(os.getenv("MESSAGES"))
local body_bytes = tonumber(os.getenv("BODY_BYTES"))
local sent, answered = 0, 0
local template, places

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
  sent = sent + 1
  local numbers = {}
  for i = 1, places do numbers[i] = sent end
  return template:format(unpack(numbers))
end

response = function(status)
  answered = answered + 1
  if answered == most then
    wrk.thread:stop()
    -- wrk itself would sleep until its time is over, and may miss one signal.
    io.popen("exec 2>/dev/null; while kill -INT $PPID; do sleep 0.01; done")
  end
end

done = function(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    '{"answered":%d,"us":%d,"refused":%d,"broken":%d}',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
