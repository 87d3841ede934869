"""Load by wrk, and what it found."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import pinned

PROMPTS = 64
"""Different prompts that take turns, so that a router by prefix has something to route by."""

SCRIPT = """
local requests, at = {}, 0
local headers = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer %(key)s"}
init = function(args)
  for n = 1, %(prompts)d do
    local start = '{"model":"bench","messages":[{"role":"user","content":"' .. string.format("%%08d ", n)
    local rest = '"}],"prompt":"x","max_tokens":64}'
    local filler = string.rep("some words of a prompt ", math.ceil(%(size)d / 23)):sub(1, %(size)d - #start - #rest)
    requests[n] = wrk.format("POST", "%(path)s", headers, start .. filler .. rest)
  end
end
request = function()
  at = at %% %(prompts)d + 1
  return requests[at]
end
done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format('\\nFIGURES {"requests":%%d,"microseconds":%%d,"p50":%%d,"p99":%%d,"wrong":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk. Times in microseconds."""

    requests: int
    per_second: float
    p50: float
    p99: float
    wrong: int
    """Answers that were not 2xx or 3xx, and connections that failed."""


@dataclass(frozen=True, slots=True)
class Wrk:
    """How to run it."""

    program: str
    core: int
    folder: Path
    key: str

    async def run(self, port: int, *, size: int, connections: int, seconds: float, path: str) -> Load:
        """Send bodies of `size` bytes for `seconds` and return what came of it."""
        script = self.folder / "load.lua"
        prompts = PROMPTS if size < 100_000 else 2
        script.write_text(SCRIPT % {"key": self.key, "prompts": prompts, "size": size, "path": path})
        argv = [self.program, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(script)]
        process = await asyncio.create_subprocess_exec(
            *pinned(self.core, [*argv, f"http://127.0.0.1:{port}"]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        for line in out.decode(errors="replace").splitlines():
            if line.startswith("FIGURES "):
                found = json.loads(line.removeprefix("FIGURES "))
                rate = found["requests"] / (found["microseconds"] / 1e6)
                return Load(found["requests"], rate, found["p50"], found["p99"], found["wrong"])
        raise RuntimeError(f"wrk failed: {out.decode(errors='replace')[-500:]}")
