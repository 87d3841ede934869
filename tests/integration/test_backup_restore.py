"""Backup while a daemon runs and writes, restore after it stopped: as the operator does it."""

import contextlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_under_test import MODELGRID, SMALL, DaemonUnderTest, daemon_in

from modelgrid.adapters.backup_tar import restore
from modelgrid.adapters.backup_tar.archive import read_manifest
from modelgrid.adapters.store_sql.tables import SCHEMA_VERSION
from modelgrid.cli.main import run
from modelgrid.domain.errors import InvalidConfig, InvalidInput

ENV_SECRET = "hf_of-an-engine-0123456789"
SHARED_SECRET = "introduces-nodes-0123456789"
WITH_SECRETS: dict[str, Any] = {
    "cluster": {"sharedSecret": SHARED_SECRET},
    "containers": [{"name": "seeded", "model": SMALL, "replicas": 0, "env": {"HF_TOKEN": ENV_SECRET}}],
}


def command(daemon: DaemonUnderTest, *arguments: str, code: int = 0, state: Path | None = None) -> Any:
    """Run a verb on the daemon's files; return its JSON, or the error it said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = run([*arguments, "--json", *_paths(daemon, state)])
    return _said(ended, out.getvalue(), err.getvalue(), code)


def program(daemon: DaemonUnderTest, *arguments: str, code: int = 0) -> Any:
    """As `command`, in a process of its own, as people run it."""
    done = subprocess.run(
        [str(MODELGRID), *arguments, "--json", *_paths(daemon)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return _said(done.returncode, done.stdout, done.stderr, code)


def _paths(daemon: DaemonUnderTest, state: Path | None = None) -> list[str]:
    return ["--config", str(daemon.config_path), "--state-dir", str(state or daemon.state_dir)]


def _said(ended: int, out: str, err: str, code: int) -> Any:
    assert ended == code, err
    if code == 0:
        assert err == ""
        return json.loads(out)
    assert out == ""
    return json.loads(err)["error"]


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy a backup with members changed, or left out where `change` returns `None`."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for header in old:
            reader = old.extractfile(header)
            assert reader is not None
            content = change(header.name, reader.read())
            if content is not None:
                header.size = len(content)
                new.addfile(header, io.BytesIO(content))
    return target


def names_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DaemonUnderTest, Path]]:
    """A daemon that has run, and a backup of it with secrets."""
    with daemon_in(tmp_path_factory.mktemp("stopped")) as daemon:
        daemon.start()
        file = daemon.folder / "good.tar"
        command(daemon, "backup", str(file), "--with-secrets")
        assert daemon.stop() == 0
        yield daemon, file


@pytest.fixture
def daemon(new_daemon: Callable[..., DaemonUnderTest]) -> DaemonUnderTest:
    started = new_daemon(WITH_SECRETS)
    started.start()
    return started


def test_a_backup_while_writing_is_restored_as_a_committed_prefix(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    """R32, whole: a client changes targets without a pause while backups are made; each, restored, is what had been
    acknowledged when it began, and at most what was under way while it was made."""
    acknowledged, stop = 0, threading.Event()
    daemon.client.put_target(SMALL, {"replicas": 1})

    def write() -> None:
        nonlocal acknowledged
        while not stop.is_set():
            daemon.client.put_target(
                "meta-llama/Llama-3.1-8B-Instruct", {"replicas": 0, "args": [f"--seed={acknowledged}"]}
            )
            acknowledged += 1

    writer = threading.Thread(target=write)
    writer.start()
    made = []
    try:
        for number in range(3):
            before = acknowledged
            file = tmp_path / f"{number}.tar"
            said = command(daemon, "backup", str(file))
            made.append((file, before, acknowledged + 1))
            assert said["bytes"] == file.stat().st_size
    finally:
        stop.set()
        writer.join()
    assert made[-1][1] > made[0][1], "nothing was written while backups were made: the test did not test"
    assert daemon.stop() == 0
    for file, least, most in made:
        state = tmp_path / f"state-{file.stem}"
        command(daemon, "restore", str(file), state=state)
        with sqlite3.connect(state / "state.db") as database:
            (checked,) = database.execute("PRAGMA integrity_check").fetchone()
            rows = database.execute("SELECT body FROM targets WHERE name LIKE 'meta-llama/%'").fetchall()
            seqs = [row[0] for row in database.execute("SELECT seq FROM events ORDER BY seq")]
        database.close()
        assert checked == "ok"
        assert seqs == list(range(1, len(seqs) + 1)), "an event is missing between others"
        writes = int(json.loads(rows[0][0])["spec"]["args"][0].removeprefix("--seed=")) + 1 if rows else 0
        assert least <= writes <= most


def test_a_restore_brings_the_state_back_and_keeps_what_was_there(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    deployment = daemon.run()[0]["id"]
    engine = daemon.engine_pids()[deployment]
    key = daemon.key
    said = program(daemon, "backup", str(tmp_path), "--with-secrets")
    file = Path(said["file"])
    assert file.parent == tmp_path
    assert file.stat().st_mode & 0o777 == 0o600
    assert {item["name"] for item in said["items"]} == {"state.db", "config.json", "secret.key", "token"}
    daemon.client.put_target("meta-llama/Llama-3.1-8B-Instruct", {"replicas": 0})

    error = program(daemon, "restore", str(file), code=1)
    assert "A daemon runs" in error["message"]
    assert program(daemon, "restore", str(file), "--dry-run")["aside"] == []
    assert len(daemon.client.list_targets()["items"]) == 3

    assert daemon.stop() == 0
    config = json.loads(daemon.config_path.read_text())
    daemon.config_path.write_text(json.dumps({**config, "logLevel": "debug"}))
    restored = program(daemon, "restore", str(file))
    assert restored["warnings"] == []
    aside, old_config = map(Path, restored["aside"])
    assert {"state.db", "secret.key", "token"} <= names_below(aside)
    assert aside.parent == daemon.state_dir
    assert aside.stat().st_mode & 0o077 == 0
    assert json.loads(old_config.read_text())["logLevel"] == "debug"
    assert json.loads(daemon.config_path.read_text()) == config
    assert not list(daemon.state_dir.glob(".restore-*"))

    daemon.start()
    assert {target["name"] for target in daemon.client.list_targets()["items"]} == {SMALL, "seeded"}
    daemon.wait_for({"running": 1}, target=SMALL)
    assert daemon.engine_pids() == {deployment: engine}, "the engine that runs was not adopted"
    assert daemon.key == key
    with daemon.openai() as client:
        assert client.completions.create(model=SMALL, prompt="1", max_tokens=1).choices


def test_secrets_are_left_out_unless_asked_for(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    daemon.client.put_target(SMALL, {"replicas": 0, "env": {"HF_TOKEN": ENV_SECRET}})
    without, with_them = tmp_path / "without.tar", tmp_path / "with.tar"
    said = command(daemon, "backup", str(without))
    assert said["left_out"] == ["secret.key", "token"]
    assert command(daemon, "backup", str(with_them), "--with-secrets")["left_out"] == []
    token = (daemon.state_dir / "token").read_text().strip()
    key = (daemon.state_dir / "secret.key").read_text().strip()
    for secret in (token, key, SHARED_SECRET, ENV_SECRET):
        assert secret.encode() not in without.read_bytes()
        assert secret.encode() in with_them.read_bytes()
    assert daemon.stop() == 0

    # Here the restore takes the secrets that are here.
    before = daemon.config_path.read_text()
    assert command(daemon, "restore", str(without))["warnings"] == []
    assert json.loads(daemon.config_path.read_text()) == json.loads(before)
    assert (daemon.state_dir / "token").read_text().strip() == token
    daemon.start()
    assert daemon.client.list_targets()["items"]
    assert daemon.stop() == 0

    # Elsewhere it says what will be missing, and takes no placeholder for a secret.
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(InvalidConfig, match="made without secrets") as refused:
        _restore(without, elsewhere)
    assert "--keep-config" in refused.value.fix
    assert not (elsewhere / "state" / "state.db").exists()
    restored = _restore(without, elsewhere, keep_config=True)
    assert any("secret.key is missing" in warning for warning in restored.warnings)
    assert not (elsewhere / "config.json").exists()
    assert _restore(with_them, tmp_path / "third").warnings == ()
    assert json.loads((tmp_path / "third" / "config.json").read_text()) == json.loads(before)


def _restore(file: Path, folder: Path, *, keep_config: bool = False) -> Any:
    return restore(
        file,
        state_dir=folder / "state",
        config_path=folder / "config.json",
        dry_run=False,
        keep_config=keep_config,
        on_progress=lambda *_: None,
    )


def test_a_backup_that_will_not_do_changes_nothing(stopped: tuple[DaemonUnderTest, Path], tmp_path: Path) -> None:
    daemon, good = stopped
    error = command(daemon, "backup", str(good), code=1)
    assert "exists already" in error["message"]
    before = {name: (daemon.state_dir / name).read_bytes() for name in names_below(daemon.state_dir)}

    def newer(name: str, content: bytes) -> bytes:
        return content.replace(f'"{SCHEMA_VERSION}"'.encode(), b'"9999"') if name == "manifest.json" else content

    def swapped(name: str, content: bytes) -> bytes:
        return content.replace(b"admin", b"nimda") if name == "state.db" else content

    def evil(name: str, content: bytes) -> bytes:
        return content.replace(b'"token"', b'"../tokn"') if name == "manifest.json" else content

    bad = {
        "schema 9999": rewrite(good, tmp_path / "newer.tar", newer),
        "checksum": rewrite(good, tmp_path / "swapped.tar", swapped),
        "does not belong": rewrite(good, tmp_path / "evil.tar", evil),
        "token is missing": rewrite(good, tmp_path / "part.tar", lambda n, c: None if n == "token" else c),
        "does not begin with": rewrite(good, tmp_path / "bare.tar", lambda n, c: None if n == "manifest.json" else c),
        "cannot be read": tmp_path / "nothing.tar",
    }
    (tmp_path / "cut.tar").write_bytes(good.read_bytes()[:50_000])
    bad["unexpected end"] = tmp_path / "cut.tar"
    for why, file in bad.items():
        error = command(daemon, "restore", str(file), code=2)
        assert why in error["message"], error
        assert error["fix"]
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        header = tarfile.TarInfo("manifest.json")
        header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(header)
    assert "not a plain file" in command(daemon, "restore", str(tmp_path / "link.tar"), code=2)["message"]
    after = {name: (daemon.state_dir / name).read_bytes() for name in names_below(daemon.state_dir)}
    assert after == before


def test_a_restore_that_fails_half_way_is_undone(
    stopped: tuple[DaemonUnderTest, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each rename in turn the disk gives an error."""
    daemon, file = stopped
    shutil.copytree(daemon.state_dir, tmp_path / "state", ignore=shutil.ignore_patterns("*.sock"))
    shutil.copy(daemon.config_path, tmp_path / "config.json")
    (tmp_path / "config.json").write_text(daemon.config_path.read_text() + "\n")
    before = {n: (tmp_path / n).read_bytes() for n in names_below(tmp_path)}
    real, fails_at, failed = Path.replace, 0, True
    while failed:
        fails_at += 1
        calls = 0

        def replace(self: Path, target: Path) -> Path:
            nonlocal calls
            calls += 1
            if calls == fails_at:  # noqa: B023  read while the loop's turn lasts
                raise OSError(5, "Input/output error", str(target))
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        failed = False
        with contextlib.suppress(InvalidInput):
            _restore(file, tmp_path)
            continue
        failed = True
        assert {n: (tmp_path / n).read_bytes() for n in names_below(tmp_path)} == before, f"replace {fails_at}"
    assert fails_at > 3, "nothing was ever made to fail"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_root_restores_for_the_daemons_user(stopped: tuple[DaemonUnderTest, Path], tmp_path: Path) -> None:
    _, file = stopped
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 12_345, 12_346)
    _restore(file, tmp_path)
    for path in state.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 12_346), path
        assert path.stat().st_mode & 0o077 == 0, path


def test_postgresql_is_left_to_its_own_tools(new_daemon: Callable[..., DaemonUnderTest], tmp_path: Path) -> None:
    daemon = new_daemon()
    daemon.state_dir.mkdir()
    (daemon.state_dir / "token").write_text("t\n")
    file = tmp_path / "rest.tar"
    url = "postgresql://modelgrid:hunter2@db/state"
    said = command(daemon, "backup", str(file), "--state-url", url)
    assert said["database"] == "postgresql"
    assert [item["name"] for item in said["items"]] == ["config.json"]
    assert read_manifest(file).schema is None
    assert b"hunter2" not in file.read_bytes()
    shown = subprocess.run(
        [str(MODELGRID), "backup", str(tmp_path), "--state-url", url, "--state-dir", str(daemon.state_dir)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 'pg_dump --format=custom --file=modelgrid.dump "$MODELGRID_STATE_URL"' in shown.stderr
    assert "hunter2" not in shown.stdout + shown.stderr
    assert command(daemon, "restore", str(file))["database"] == "postgresql"
    assert not (daemon.state_dir / "state.db").exists()


def test_bad_arguments_are_refused_with_a_fix(new_daemon: Callable[..., DaemonUnderTest], tmp_path: Path) -> None:
    daemon = new_daemon()
    missing = command(daemon, "backup", str(tmp_path / "x.tar"), code=1)
    assert "There is no database" in missing["message"]
    for arguments in (
        ["backup", "--url", "http://elsewhere:8081"],
        ["restore", "x.tar", "--url", "http://elsewhere:8081"],
        ["backup", "--state-url", "sqlite:////tmp/x.db"],
        ["backup", str(tmp_path / "no" / "such" / "folder.tar")],
    ):
        assert command(daemon, *arguments, code=2)["fix"]
    assert list(tmp_path.iterdir()) == []
