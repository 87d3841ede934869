"""What is compiled of the gateway, and when it is used."""

import ast
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from modelgrid.gateway import compiled

SOURCES = Path(compiled.__file__).parent.parent
IN_ORDER = {
    "seen[begin:end]",
    "data[stop:end]",
    "data[start:stop]",
    "data[at:stop]",
    "tail[start:stop]",
    "chunk[begin:-2]",
    "self._whole[record + _COLUMNS:record + self._stride]",
}
"""They never end before they begin. Compiled, such a slice of bytes raises SystemError instead of being empty."""


def hot() -> list[Path]:
    return [SOURCES / package / f"{name}.py" for package, names in compiled.HOT.items() for name in names]


@pytest.mark.parametrize("path", hot(), ids=lambda path: path.stem)
def test_slices_with_two_ends_are_known_to_be_in_order(path: Path) -> None:
    found = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Slice)
        and node.slice.lower is not None
        and node.slice.upper is not None
    }
    assert found <= IN_ORDER


def test_nothing_is_used_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    assert not compiled.use()


def test_what_was_made_of_other_sources_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    compiled.place().mkdir()
    monkeypatch.setattr(compiled, "_READ", ("gateway",))
    assert not compiled.use()


def test_who_wants_the_sources_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    monkeypatch.setenv(compiled.PURE, "1")
    compiled.place().mkdir()
    assert not compiled.use()


def test_a_library_that_does_not_load_is_left_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    monkeypatch.delenv(compiled.PURE, raising=False)
    path = list(sys.path)
    compiled.place().mkdir()
    (compiled.place() / f"broken__mypyc{EXTENSION_SUFFIXES[0]}").write_bytes(b"of another machine")
    assert not compiled.use()
    assert "does not load here" in capsys.readouterr().err
    assert sys.path == path


def test_what_goes_wrong_with_compiling_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    monkeypatch.setattr(compiled, "look_for_compiler", lambda: None)
    monkeypatch.setattr(compiled, "_BUILD", "raise SystemExit('no space left')")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert compiled.main([]) == 1
    assert "no space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compiled.main(["--possible"]) == 1
    said = capsys.readouterr().err
    assert "runs interpreted: there is no C compiler (no-such-compiler)" in said
    assert "apt-get install gcc python3-dev && make compiled" in said
    assert said.count("\n") == 1
