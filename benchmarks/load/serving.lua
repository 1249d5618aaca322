-- wrk -s serving.lua ... -- FILE CLIENTS
--
-- FILE has a request body and the expected response body on alternate lines. Client k of n sends
-- the requests k, k + n, k + 2n, ... again and again.
-- Each thread of wrk must have one connection, so that a response belongs to its last request.
-- Prints one line of JSON at the end.

local threads = {}

function setup(thread)
  thread:set("position", #threads)
  table.insert(threads, thread)
end

function init(args)
  bodies, answers, samples = {}, {}, {}
  sent, wrong, failed = 0, 0, 0
  clients = tonumber(args[2])
  local is_body = true
  for line in io.lines(args[1]) do
    table.insert(is_body and bodies or answers, line)
    is_body = not is_body
  end
  headers = {["Content-Type"] = "application/json"}
end

function request()
  current = position % #bodies + 1
  position = position + clients
  return wrk.format("POST", "/translate", headers, bodies[current])
end

function response(status, headers, body)
  sent = sent + 1
  if status ~= 200 then
    failed = failed + 1
  elseif body ~= answers[current] then
    wrong = wrong + 1
    if #samples < 3 then
      table.insert(samples, current .. "\t" .. body)
    end
  end
end

function done(summary, latency, requests)
  local total = {sent = 0, wrong = 0, failed = 0}
  for _, thread in ipairs(threads) do
    for name in pairs(total) do
      total[name] = total[name] + thread:get(name)
    end
    for _, sample in ipairs(thread:get("samples")) do
      io.stderr:write("wrong answer of line " .. sample .. "\n")
    end
  end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write
  print(string.format(
    '{"seconds": %.3f, "answers": %d, "wrong": %d, "failed": %d, "lost": %d}',
    summary.duration / 1e6, total.sent, total.wrong, total.failed, errors + summary.errors.timeout
  ))
end
