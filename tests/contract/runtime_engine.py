"""A small real HTTP server that stands in for vLLM in the runtime tests. Standard library only.

GET /health 200 · /say?n=3&text=x prints lines · /exit?code=3 exits · /pids its own and its children's pids
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CHILDREN: list[int] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        answer = "ok"
        if url.path == "/say":
            for number in range(int(query["n"])):
                print(f"{query.get('text', 'line')} {number}", flush=True)
        elif url.path == "/pids":
            answer = " ".join(str(pid) for pid in [os.getpid(), *CHILDREN])
        elif url.path == "/env":
            answer = os.environ.get(query["name"], "")
        elif url.path == "/exit":
            threading.Timer(0.05, os._exit, [int(query["code"])]).start()
        elif url.path != "/health":
            self.send_error(404)
            return
        body = answer.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--ignore-term", action="store_true")
    options.add_argument("--children", type=int, default=0, help="child processes that ignore SIGTERM")
    options.add_argument("--strays", type=int, default=0, help="the same, each in a session of its own")
    options.add_argument("--exit-code", type=int)
    options.add_argument("--lines", type=int, default=0)
    given = options.parse_args()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if given.ignore_term else lambda *_: sys.exit(0))
    sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    for number in range(given.children + given.strays):
        child = subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=number >= given.children)
        CHILDREN.append(child.pid)
    print("engine starts", flush=True)
    print("a warning", file=sys.stderr, flush=True)
    for number in range(given.lines):
        print(f"line {number}")
    sys.stdout.flush()
    if given.exit_code is not None:
        sys.exit(given.exit_code)
    ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
