"""Writes `data/api.gen.ts`: TypeScript types of the console API, made from its OpenAPI document.

    make console-types

The first line of the file carries the digest of the document without its prose, so that a test without Node can tell
whether the types still fit the code.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from modelgrid.api.app import create_app
from modelgrid.api.context import Services

WEB = Path(__file__).resolve().parent
TYPES = WEB / "data" / "api.gen.ts"
PROSE = frozenset({"description", "summary", "title", "examples", "example"})
NAMED = frozenset({"properties", "schemas", "paths", "responses", "headers", "patternProperties"})
"""Below these, keys are names of ours and not words of OpenAPI."""


def document() -> str:
    """Return the OpenAPI document without prose as JSON: the same text for the same calls and bodies."""
    whole = create_app(cast("Services", None), token="").openapi()
    whole["info"] = {"title": "ModelGrid console API", "version": "0"}
    return json.dumps(_bare(whole), indent=1, sort_keys=True)


def _bare(value: Any, *, names: bool = False) -> Any:
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    kept = {key: item for key, item in value.items() if names or key not in PROSE or key == "info"}
    if not names and "content" in value:
        kept["description"] = ""
    return {key: _bare(item, names=not names and key in NAMED) if key != "info" else item for key, item in kept.items()}


def digest() -> str:
    return sha256(document().encode()).hexdigest()


def main() -> None:
    with TemporaryDirectory() as folder:
        source, made = Path(folder) / "openapi.json", Path(folder) / "types.ts"
        source.write_text(document())
        tool = WEB / "node_modules" / ".bin" / "openapi-typescript"
        subprocess.run([str(tool), str(source), "--output", str(made)], check=True, stdout=sys.stderr)
        TYPES.write_text(f"// {digest()}\n{made.read_text()}")


if __name__ == "__main__":
    main()
