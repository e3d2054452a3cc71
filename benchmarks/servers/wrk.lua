-- Sends the requests of a file, one after the other:  wrk -s wrk.lua URL -- FILE TOKEN SECONDS [statuses]
-- A line holds method, path, content type and body, with tabs between them and \1 for each line break of the body.
-- TOKEN or SECONDS, the deadline that each request states, may be "-".
local requests, next = {}, 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  if args[2] ~= "-" then wrk.headers["Authorization"] = "Bearer " .. args[2] end
  if args[3] ~= "-" then wrk.headers["Request-Timeout"] = args[3] end
  for line in io.lines(args[1]) do
    local method, path, kind, body = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
    local headers = {}
    for name, value in pairs(wrk.headers) do headers[name] = value end
    headers["Content-Type"] = kind
    table.insert(requests, wrk.format(method, path, headers, (body:gsub("\1", "\n"))))
  end
  accepted, turned_away, refused, failed = 0, 0, 0, 0
  if args[4] ~= "statuses" then response = nil end
end

function request()
  next = next % #requests + 1
  return requests[next]
end

-- Only where statuses are counted: it costs wrk time.
function response(status)
  if status == 200 then accepted = accepted + 1
  elseif status == 503 then turned_away = turned_away + 1
  elseif status < 500 then refused = refused + 1
  else failed = failed + 1 end
end

function done(summary, latency)
  local accepted, turned_away, refused, failed = 0, 0, 0, 0
  for _, thread in ipairs(threads) do
    accepted = accepted + thread:get("accepted")
    turned_away = turned_away + thread:get("turned_away")
    refused = refused + thread:get("refused")
    failed = failed + thread:get("failed")
  end
  local broken = summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format(
    '\nFOUND {"requests": %d, "seconds": %.6f, "not_2xx": %d, "broken": %d, "timeouts": %d, "median_ms": %.3f, ' ..
    '"p99_ms": %.3f, "max_ms": %.3f, "accepted": %d, "turned_away": %d, "refused": %d, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, summary.errors.status, broken, summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3, accepted, turned_away, refused,
    failed))
end
