"""Takes pictures of every view of the console, in both themes and both widths, from a real daemon with traffic.

    make screenshots

Writes `console-<view>-<theme>-<width>.png` beside this file. GPUs and engines are simulated. With names of views as
arguments, for example `/overview/stats`, takes only those.
"""

import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT / "tests" / "integration")]

from browser_kit import THEMES, WIDTHS, browser, first_login, missing, settled, view_paths, watched_page  # noqa: E402
from daemon_under_test import DaemonUnderTest, daemon_in  # noqa: E402

PICTURES = Path(__file__).resolve().parent
GPUS = [
    {"name": f"NVIDIA {name}", "vramGib": gib}
    for name, gib in (("H100", 80), ("H100", 80), ("L40S", 45), ("L4", 22)) * 2
]
RUNNING = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen2.5-0.5B-Instruct")
TOO_LARGE = "deepseek-ai/DeepSeek-R1-0528"
ENGINES = "--sim-load-seconds 0.2 --sim-ttft 0.12 --sim-itl 0.012 --sim-output-tokens 80"
TALKERS = 6
BEFORE_SECONDS = 45.0
"""Traffic before the first picture, so that lines have a shape."""


def talk(daemon: DaemonUnderTest, ended: threading.Event, number: int) -> None:
    """Ask one model after the other, with pauses that grow and shrink."""
    turn = number
    with httpx.Client(headers={"Authorization": f"Bearer {daemon.key}"}, timeout=30, trust_env=False) as http:
        while not ended.wait(0.1 + 0.6 * ((turn * 7919) % 13) / 13):
            turn += 1
            body = {"model": RUNNING[turn % 3], "messages": [{"role": "user", "content": "Say something."}]}
            if turn % 41 == 0:
                body["model"] = "no/such-model"
            http.post(f"{daemon.api_url}/v1/chat/completions", json=body)


def take(daemon: DaemonUnderTest, paths: list[str]) -> None:
    with browser() as found:
        page, _ = watched_page(found, daemon.console_url)
        first_login(page, (daemon.state_dir / "initial-password").read_text().strip())
        state = page.context.storage_state()
        page.wait_for_timeout(BEFORE_SECONDS * 1000)
        for theme in THEMES:
            for width, height in WIDTHS.items():
                size = {"width": width, "height": height}
                page, _ = watched_page(
                    found, daemon.console_url, color_scheme=theme, viewport=size, storage_state=state
                )
                page.goto(paths[0])
                settled(page)
                page.wait_for_timeout(12_000)
                for path in paths:
                    page.goto(path)
                    settled(page)
                    page.wait_for_timeout(2_500)
                    name = path.strip("/").replace("/", "-")
                    page.screenshot(
                        path=PICTURES / f"console-{name}-{theme}-{width}.png", full_page=width == min(WIDTHS)
                    )
                page.context.close()


def main() -> None:
    if reason := missing():
        sys.exit(reason)
    config = {"nodeName": "gpu-a", "gpus": {"simulate": GPUS}, "cluster": {"role": "standalone"}}
    with tempfile.TemporaryDirectory() as folder, daemon_in(Path(folder), config, engines=ENGINES) as daemon:
        daemon.start()
        for model, replicas in zip(RUNNING, (2, 1, 1), strict=True):
            daemon.run(model, replicas=replicas)
        daemon.client.put_target(TOO_LARGE, {"replicas": 1})
        ended = threading.Event()
        with ThreadPoolExecutor(TALKERS) as talkers:
            for number in range(TALKERS):
                talkers.submit(talk, daemon, ended, number)
            try:
                take(daemon, sys.argv[1:] or view_paths())
            finally:
                ended.set()
        daemon.clear()


if __name__ == "__main__":
    main()
