-- wrk's requests for `asking.py`: the body of a POST comes from the file BENCH_BODY, and what
-- was measured goes out as one line of JSON.
local file = os.getenv("BENCH_BODY")
if file then
    wrk.method = "POST"
    wrk.body = io.open(file):read("*a")
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '{"event":"done","requests":%d,"seconds":%.6f,"bytes":%d,"p50":%.6f,"p99":%.6f,"errors":%d}\n',
        summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e6,
        latency:percentile(99) / 1e6, e.connect + e.read + e.write + e.status + e.timeout))
end
