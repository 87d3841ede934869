"""The fuzz targets in the suite: every input that was kept, mutations of them, and a short run under atheris.

`make fuzz` runs atheris for as long as it is told and keeps what it finds in `corpus/`.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from targets import TARGETS

from modelgrid.gateway.request import Request

FOLDER = Path(__file__).parent
CORPUS = {name: sorted((FOLDER / "corpus" / name).iterdir()) for name in TARGETS}
INPUTS = {name: [path.read_bytes() for path in paths] for name, paths in CORPUS.items()}
SECONDS = 5


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_before_stays_well(name: str) -> None:
    for path, data in zip(CORPUS[name], INPUTS[name], strict=True):
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{path.name} of {name}: {error!r}") from error
    assert len(INPUTS[name]) > 50


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_mutations_of_it(name: str, data: st.DataObject) -> None:
    one, other = (data.draw(st.sampled_from(INPUTS[name])) for _ in range(2))
    at, to = (data.draw(st.integers(0, len(one))) for _ in range(2))
    middle = data.draw(st.binary(max_size=8) | st.just(other[to:]))
    TARGETS[name](one[:at] + middle + one[to:])


def test_an_exception_in_a_callback_of_the_parser_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """llhttp's binding catches it, and tells of it as it tells of bad HTTP."""

    def raises(request: Request, name: bytes, value: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Request, "add_header", raises)
    with pytest.raises(ZeroDivisionError):
        TARGETS["reader"](b"\0\5GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.timeout(SECONDS * 6)
@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_guided_by_coverage(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has wheels for Linux on x86-64, Python 3.11 to 3.13")
    argv = [sys.executable, FOLDER / "run.py", f"--target={name}", tmp_path, FOLDER / "corpus" / name]
    options = [f"-max_total_time={SECONDS}", "-max_len=1500", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([*argv, *options], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    print(f"{name}: {len(list(tmp_path.iterdir()))} new inputs", done.stderr.splitlines()[-1])
