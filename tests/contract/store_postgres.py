"""A PostgreSQL cluster of one's own, for the tests of the store: Unix socket only, in a folder that goes away."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_USERS = ("postgres", "nobody")
"""Who may run the server when the tests run as root, which PostgreSQL refuses to do."""


@functools.cache
def binaries() -> Path | None:
    """The folder with initdb and pg_ctl, newest version first; `None` where there is no PostgreSQL."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: int(f.parent.name), reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).parent)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


class PostgresCluster:
    def __init__(self, folder: Path) -> None:
        tools = binaries()
        assert tools is not None
        self.folder = folder
        self._tools = tools
        self._count = 0

    def start(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, self._owner())
        self._run("initdb", "-D", self._data, "-U", "modelgrid", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        with (Path(self._data) / "postgresql.conf").open("a") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\nshared_buffers = 32MB\n")
        self._control("start")

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def start_again(self) -> None:
        self._control("start")

    def restart_immediately(self) -> None:
        """As after a power cut: no shutdown checkpoint, every connection is cut, then recovery from the log."""
        self._control("restart", "-m", "immediate")

    def url(self, database: str) -> str:
        return f"postgresql://modelgrid@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(host=str(self.folder), user="modelgrid", dbname=database, autocommit=True)

    def create_database(self, *, options: str = "") -> str:
        """Create an empty database and return its name."""
        self._count += 1
        name = f"state_{self._count}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} {options}")  # type: ignore[arg-type]
        return name

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _control(self, verb: str, *more: str) -> None:
        self._run("pg_ctl", verb, "-D", self._data, "-w", "-t", "60", "-l", str(self.folder / "log"), *more)

    def _run(self, tool: str, *arguments: str) -> None:
        command = [str(self._tools / tool), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self._owner(), "--", *command]
        # Into a file: the server keeps what it inherits, and a pipe would never end.
        with (self.folder / "tools").open("ab") as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder, check=False
            )
        if done.returncode != 0:
            raise RuntimeError(f"{tool} failed:\n{(self.folder / 'tools').read_text()[-2000:]}")

    @staticmethod
    def _owner() -> str:
        import pwd

        known = {entry.pw_name for entry in pwd.getpwall()}
        return next(user for user in _USERS if user in known)


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    """A running cluster. Its folder is short, because the path of a Unix socket ends at 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="mg-pg-", dir="/tmp"))
    cluster = PostgresCluster(folder)
    try:
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)
