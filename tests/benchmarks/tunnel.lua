-- wrk's script: POST 1 KiB as QStash would, and print what was seen as JSON.
--
-- Environment: CLOSE=1 for a new connection with each request.

wrk.method = "POST"
wrk.body = string.rep("x", 1024)
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Upstash-Message-Id"] = "msg_26hZCxZCuWyyTWPmSVBrNCtiJEtvMttKvUmW"
wrk.headers["Upstash-Retried"] = "0"
if os.getenv("CLOSE") then wrk.headers["Connection"] = "close" end

done = function(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"us":%d,"failed":%d,"p50_us":%d,"p99_us":%d}',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
