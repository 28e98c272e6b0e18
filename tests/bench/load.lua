-- wrk's script: sends the requests of a file (one "METHOD<TAB>path<TAB>body" a line) in order, over and over, and prints what
-- came of it as one line of JSON.

function init(args)
   requests, at = {}, 0
   for line in io.lines(args[1]) do
      local method, path, body = line:match("^(%S+)\t(%S+)\t(.*)$")
      local headers = { ["Authorization"] = args[2], ["Content-Type"] = "application/json" }
      requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
   end
end

function request()
   at = at % #requests + 1
   return requests[at]
end

function done(summary, latency)
   local failed = summary.errors
   io.write(string.format(
      'JSON {"requests": %d, "microseconds": %d, "p50": %f, "p99": %f, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed.status,
      failed.connect + failed.read + failed.write + failed.timeout))
end
