"""Sealing, and the key file it stands on."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.adapters.secrets_file import FileSecrets
from modelgrid.domain.errors import InvalidConfig, InvalidInput


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@given(text=st.text())
def test_what_was_sealed_is_unsealed(state: Path, text: str) -> None:
    sealing = FileSecrets(state)
    sealed = sealing.seal(text)
    assert FileSecrets(state).unseal(sealed) == text
    assert sealed.isascii()
    assert sealed.isprintable()
    assert sealing.seal(text) != sealed


def test_another_state_directory_cannot_unseal(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sealed = FileSecrets(tmp_path / "a").seal("hf_secret")
    with pytest.raises(InvalidInput) as refused:
        FileSecrets(tmp_path / "b").unseal(sealed)
    assert refused.value.fix
    assert "hf_secret" not in str(refused.value)


def test_every_changed_character_is_noticed(tmp_path: Path) -> None:
    sealing = FileSecrets(tmp_path)
    sealed = sealing.seal("hf_secret_x")  # 39 bytes in all: its base64 has no spare bits that mean nothing
    for at in range(len(sealed)):
        other = "A" if sealed[at] != "A" else "B"
        with pytest.raises(InvalidInput):
            sealing.unseal(sealed[:at] + other + sealed[at + 1 :])
    for broken in ("", "hf_secret", sealed[:-4], sealed + "AAAA", "sealed1.", "sealed1.%%%"):
        with pytest.raises(InvalidInput):
            sealing.unseal(broken)


def test_the_key_file_is_made_at_first_use_and_private(tmp_path: Path) -> None:
    sealing = FileSecrets(tmp_path)
    sealing.token(128)
    assert list(tmp_path.iterdir()) == []
    old_mask = os.umask(0)
    try:
        sealing.seal("x")
    finally:
        os.umask(old_mask)
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode((tmp_path / "secret.key").read_text())) == 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    sealed = FileSecrets(tmp_path).seal("x")
    (tmp_path / "secret.key").chmod(mode)
    with pytest.raises(InvalidConfig, match="read by other users") as refused:
        FileSecrets(tmp_path).unseal(sealed)
    assert "chmod 600" in refused.value.fix
    (tmp_path / "secret.key").chmod(0o600)
    assert FileSecrets(tmp_path).unseal(sealed) == "x"


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 44, base64.b64encode(b"x" * 31)])
def test_a_damaged_key_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret.key").write_bytes(content)
    (tmp_path / "secret.key").chmod(0o600)
    with pytest.raises(InvalidConfig, match="damaged"):
        FileSecrets(tmp_path).seal("x")
    assert (tmp_path / "secret.key").read_bytes() == content


def test_a_state_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as refused:
        FileSecrets(tmp_path / "nowhere").seal("x")
    assert refused.value.fix


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from modelgrid.adapters.secrets_file import FileSecrets\n"
        "sealing = FileSecrets(Path(sys.argv[1])); sys.stdin.read()\n"
        "print(sealing.seal('x'))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in processes:  # each waits, loaded, for its standard input to end
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    sealed = [process.communicate(timeout=60)[0].strip() for process in processes]
    sealing = FileSecrets(tmp_path)
    assert [sealing.unseal(one) for one in sealed] == ["x"] * 6
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"], "no draft is left behind"


def test_losing_the_race_keeps_the_winners_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process makes its key between our look and our link."""
    winner = FileSecrets(tmp_path)
    real_link = os.link
    sealed: list[str] = []

    def late_link(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", real_link)
        sealed.append(winner.seal("x"))
        real_link(source, target)

    monkeypatch.setattr(os, "link", late_link)
    assert FileSecrets(tmp_path).unseal(FileSecrets(tmp_path).seal("y")) == "y"
    assert FileSecrets(tmp_path).unseal(sealed[0]) == "x"


def test_randomness(tmp_path: Path) -> None:
    sealing = FileSecrets(tmp_path)
    tokens = {sealing.token(128) for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(base64.urlsafe_b64decode(token + "==")) == 16 for token in tokens)
    assert len(base64.urlsafe_b64decode(sealing.token(129) + "==")) == 17
    assert all(0 <= sealing.integer(5) < 32 for _ in range(1000))
    assert {sealing.integer(1) for _ in range(1000)} == {0, 1}


def test_what_is_derived_depends_on_key_and_purpose_alone(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    derived = FileSecrets(tmp_path).derive("a")
    assert len(derived) == 32
    assert FileSecrets(tmp_path).derive("a") == derived
    assert FileSecrets(tmp_path).derive("b") != derived
    assert FileSecrets(tmp_path / "other").derive("a") != derived


def test_the_cipher_is_loaded_at_first_use_only(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from modelgrid.adapters.secrets_file import FileSecrets\n"
        "sealing = FileSecrets(Path(sys.argv[1])); sealing.token(128)\n"
        "sys.exit(any(name.startswith('cryptography') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == 0
