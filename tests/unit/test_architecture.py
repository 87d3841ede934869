"""What the floor plan promises and import-linter cannot see."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "modelgrid"
MAX_LINES = 400

PURE = frozenset({
    "abc", "base64", "bisect", "collections", "copy", "dataclasses", "difflib", "enum", "fractions", "functools",
    "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "modelgrid", "msgspec", "operator", "re",
    "statistics", "string", "types", "typing", "urllib", "xxhash",
})  # fmt: skip
"""What decisions may import. All of it works on its arguments alone; `urllib` is for `urllib.parse`."""
IMPURE_MEMBERS = frozenset({"urllib.request", "urllib.robotparser", "urllib.error"})
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint", "__import__"})

FORBIDDEN = {
    "unfinished work": re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b"),
    "a folder of somebody's machine": re.compile(r"(?<![\w.])/(?:home|Users|work|root)/\w"),
    "the tracker of this project": re.compile(r"\b(?:[Ii]ssue|[Pp]ull request|PR) (?:#?\d+|[A-Z])\b"),
    "praise": re.compile(
        r"\b(?:blazing|seamless(?:ly)?|effortless(?:ly)?|cutting[- ]edge|world[- ]class|state[- ]of[- ]the[- ]art|"
        r"game[- ]chang\w+|revolutionary|enterprise[- ]grade|battle[- ]tested|next[- ]generation|supercharge\w*)\b",
        re.IGNORECASE,
    ),
}
"""What has no place in code and documentation, by the reason."""

MODULES = sorted(SOURCE.rglob("*.py"))
DECISIONS = sorted((SOURCE / "decide").rglob("*.py"))
TEXTS = sorted(
    path
    for pattern in ("*.md", "Makefile", "pyproject.toml", "docs/**/*.md", "docs/**/*.py", "src/**/*.md", "src/**/*.py")
    for path in ROOT.glob(pattern)
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that is imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def impurities(source: str) -> list[str]:
    """Return what in a module could reach a clock, randomness, a log, the disk or the network."""
    tree = ast.parse(source)
    found = [name for name in imports(tree) if name.partition(".")[0] not in PURE or name in IMPURE_MEMBERS]
    found += [
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    ]
    found += [type(node).__name__ for node in ast.walk(tree) if isinstance(node, (ast.AsyncFunctionDef, ast.Await))]
    return found


@pytest.mark.parametrize("module", DECISIONS, ids=name_of)
def test_decisions_are_pure(module: Path) -> None:
    assert impurities(module.read_text()) == []


@pytest.mark.parametrize("floor", ["domain", "ports"])
def test_the_ground_floors_reach_nothing_outside(floor: str) -> None:
    allowed = PURE - {"msgspec"} | {"datetime", "zlib", "pathlib"}
    for module in sorted((SOURCE / floor).rglob("*.py")):
        outside = [name for name in imports(ast.parse(module.read_text())) if name.partition(".")[0] not in allowed]
        assert outside == [], name_of(module)


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from datetime import datetime",
        "import random",
        "from os import environ",
        "import structlog",
        "def f() -> None:\n    import secrets",
        "from urllib import request",
        "print(1)",
        "open('x')",
        "async def f() -> None: ...",
    ],
)
def test_an_impure_decision_is_noticed(source: str) -> None:
    assert impurities(source)


def test_the_supervisor_needs_the_standard_library_only() -> None:
    for name in ("supervisor.py", "listening.py"):
        names = {item for item in imports(ast.parse((SOURCE / name).read_text())) if "modelgrid.listening" not in item}
        assert {item.partition(".")[0] for item in names} <= sys.stdlib_module_names


def test_files_stay_short() -> None:
    """Those that people write: generated ones are as long as what they are made from."""
    texts = {name_of(module): module.read_text() for module in MODULES}
    lengths = {name: len(text.splitlines()) for name, text in texts.items() if not text.startswith("# Made by `make")}
    long = {name: lines for name, lines in lengths.items() if lines > MAX_LINES}
    assert long == {}, "split them where they have two reasons to change"


@pytest.mark.parametrize("reason", FORBIDDEN)
def test_texts_are_free_of(reason: str) -> None:
    pattern = FORBIDDEN[reason]
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []
