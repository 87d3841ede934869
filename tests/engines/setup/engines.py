#!/usr/bin/env python3
"""Install and start the real parts that `tests/engines` runs against: a Docker Engine, a registry, images, Podman,
and a vLLM that runs on the CPU. For a plain Debian 12 machine, as root; see docs/operate/testing-engines.md.

Exit status: 0 done, 1 failed, 2 usage, 3 something is missing that cannot be had here (the last line says what).
Progress goes to standard error; `--json` prints what there is to standard output. Every step may be repeated: what is
there is used, what was begun is finished."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from testbed import containers, image, model, registry, vllm_cpu
from testbed.common import Missing, engines_dir, only_one, say

MISSING = 3


def make_image() -> None:
    registry.start()
    image.make_python()


def make_vllm_image() -> None:
    """The image names the path of the vLLM it mounts, so it needs no vLLM yet."""
    registry.start()
    image.make_vllm(vllm_cpu.executable())


def make_podman() -> None:
    containers.start_podman(registry.ADDRESS)


PARTS: dict[str, Callable[[], None]] = {
    "docker": containers.start_docker,
    "podman": make_podman,
    "registry": registry.start,
    "image": make_image,
    "vllm-image": make_vllm_image,
    "vllm": vllm_cpu.install,
    "model": model.make,
}


def status() -> dict[str, Any]:
    """Return what there is at present, without starting anything. `None`: not there."""
    docker = containers.engine_version(containers.docker_socket())
    podman = containers.engine_version(containers.PODMAN_SOCKET)
    has_vllm = vllm_cpu.ready()
    return {
        "folder": str(engines_dir()),
        "docker": {"socket": str(containers.docker_socket()), "version": docker["Version"]} if docker else None,
        "podman": {"socket": str(containers.PODMAN_SOCKET), "version": podman["Version"]} if podman else None,
        "registry": registry.ADDRESS if registry.answers() else None,
        "python_image": image.python_image() if image.ready(image.PYTHON) else None,
        "vllm_image": image.vllm_image(vllm_cpu.executable()) if image.vllm_ready(vllm_cpu.executable()) else None,
        "vllm": {
            "executable": str(vllm_cpu.executable()),
            "env": vllm_cpu.ENVIRONMENT,
            "mounts": vllm_cpu.mounts(),
            "version": vllm_cpu.VLLM,
        }
        if has_vllm
        else None,
        "model": {"id": model.MODEL_ID, "folder": str(model.folder()), "catalog": str(model.catalog())}
        if model.ready()
        else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="+", choices=[*PARTS, "all", "status", "stop"], help="what to set up, in order")
    parser.add_argument("--json", action="store_true", help="print what there is as JSON")
    arguments = parser.parse_args()
    parts = [name for part in arguments.part for name in (PARTS if part == "all" else [part])]
    began = time.monotonic()
    missing: list[str] = []
    try:
        with only_one(engines_dir()):
            for name in parts:
                _do(name, missing)
    except (RuntimeError, OSError) as error:
        say(f"failed: {error}")
        return 1
    if parts != ["status"]:
        say(f"{' '.join(arguments.part)}: {time.monotonic() - began:.1f} s")
    if arguments.json or "status" in parts:
        print(json.dumps(status(), indent=None if arguments.json else 2))
    for reason in missing:
        say(f"missing: {reason}")
    return MISSING if missing else 0


def _do(name: str, missing: list[str]) -> None:
    """Do one part. What it lacks is noted, and the others are set up all the same."""
    if name == "stop":
        containers.stop()
        registry.stop()
    elif name != "status":
        try:
            PARTS[name]()
        except Missing as reason:
            if str(reason) not in missing:
                missing.append(str(reason))


if __name__ == "__main__":
    sys.exit(main())
