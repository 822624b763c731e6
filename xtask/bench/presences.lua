-- Presences for wrk: `wrk -t 1 -s presences.lua URL -- INSTANCES CHATS SECONDS [COUNT DELAY_MS]`.
--
-- Typing for SECONDS seconds, in one chat after another of one instance after another, which are numbers with commas. With COUNT it stops after so
-- many, each connection resting DELAY_MS before each; those that are under way then go to chats of their own. What was
-- measured is one line of JSON.

local instances, chats, seconds
local number, path = 0, {}

function init(args)
  instances, chats, seconds = 0, tonumber(args[2]), tonumber(args[3])
  for instance in args[1]:gmatch("%d+") do
    path[instances] = "/api/chat/presence/bench-" .. instance
    instances = instances + 1
  end
  wrk.headers["Content-Type"] = "application/json"
  if args[4] then stop_after(tonumber(args[4]), tonumber(args[5])) end
end

-- wrk looks once whether there are these two, and is faster without.
function stop_after(count, delay_ms)
  chats = 1e9
  function delay() return delay_ms end
  function response() if number >= count then wrk.thread:stop() end end
end

function request()
  local instance = number % instances
  local chat = math.floor(number / instances) % chats
  number = number + 1
  return wrk.format("POST", path[instance], nil,
    string.format('{"number":"%d","state":"typing","duration":%d}', 4915700000000 + chat, seconds))
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50_us":%d,"p99_us":%d,"p999_us":%d,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
