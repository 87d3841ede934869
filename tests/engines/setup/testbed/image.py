"""The images of the tests: a small Debian with Python, in three layers so that a pull has progress to show.

Made by mmdebstrap from Debian's archive; no other registry is needed. The layers are cut out of its archive by path."""

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import IO

from testbed import registry
from testbed.common import Missing, debian_packages, engines_dir, find_program, last_lines, say, step

PYTHON = "modelgrid-test/python"
VLLM = "modelgrid-test/vllm"
TAG = "1"
SUITE = "bookworm"
MIRROR = os.environ.get("MODELGRID_DEBIAN_MIRROR", "")
"""Empty: the one that mmdebstrap takes by itself."""
PACKAGES = ("python3", "libsqlite3-0", "libgomp1", "libnuma1", "gcc", "libc6-dev")
"""What vLLM needs from the system: its interpreter's libraries, OpenMP, NUMA, and a compiler that PyTorch may call."""
LAYERS = ("base", "python", "tools")
_PYTHON_PATHS = ("usr/lib/python3", "usr/bin/python3")
_TOOLS_PATHS = ("usr/lib/gcc/", "usr/include/", "usr/bin/x86_64-linux-gnu-", "usr/lib/bfd-plugins/")
_UNUSED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
_RECIPE_VERSION = 1
"""To be counted up when the code below makes other images from the same values."""
_RECIPE = hashlib.sha256(
    repr((_RECIPE_VERSION, SUITE, PACKAGES, LAYERS, _PYTHON_PATHS, _TOOLS_PATHS, _UNUSED, _ENVIRONMENT)).encode()
).hexdigest()[:16]
"""Label of an image: what it was made from."""


def python_image() -> str:
    return f"{registry.ADDRESS}/{PYTHON}:{TAG}"


def vllm_image(executable: Path) -> str:
    """Return the image's name. An engine keeps an image under its name: another checkout's has to have another."""
    return f"{registry.ADDRESS}/{VLLM}:{_vllm_tag(executable)}"


def _vllm_tag(executable: Path) -> str:
    return hashlib.sha256(f"{_RECIPE} {executable}".encode()).hexdigest()[:12]


def ready(repository: str, tag: str = TAG, **more: str) -> bool:
    """Return whether the registry has the image as this file would make it."""
    if not registry.answers():
        return False
    found = registry.labels(repository, tag)
    return found == {"modelgrid-test.recipe": _RECIPE, **more}


def make_python() -> None:
    """Put the image with Python into the registry."""
    if not ready(PYTHON):
        with step("push " + python_image()):
            registry.push(
                PYTHON,
                TAG,
                _layers(),
                {"Env": _ENVIRONMENT, "Cmd": ["/usr/bin/python3"], "Labels": {"modelgrid-test.recipe": _RECIPE}},
            )


def vllm_ready(executable: Path) -> bool:
    return ready(VLLM, _vllm_tag(executable), **{"modelgrid-test.vllm": str(executable)})


def make_vllm(executable: Path) -> None:
    """Put the image whose entry point is `vllm serve` into the registry, like the ones vLLM publishes.

    Its layers are the Python image's: the virtual environment (2.5 GB) and its interpreter are not copied into it but
    mounted read-only, at the paths they have on the host."""
    labels = {"modelgrid-test.vllm": str(executable)}
    if not vllm_ready(executable):
        with step("push " + vllm_image(executable)):
            registry.push(
                VLLM,
                _vllm_tag(executable),
                _layers(),
                {
                    "Env": _ENVIRONMENT,
                    "Entrypoint": [str(executable), "serve"],
                    "Labels": {"modelgrid-test.recipe": _RECIPE, **labels},
                },
            )


def make_unpulled(repository: str, layer_bytes: tuple[int, ...]) -> str:
    """Put an image into the registry whose last layers no engine has yet, and return its name.

    It is the Python image and one layer of random bytes per entry of `layer_bytes`, so that pulling it transfers
    them for real and it can be run. Each call makes new layers."""
    folder = engines_dir() / "image" / "unpulled"
    folder.mkdir(parents=True, exist_ok=True)
    extra: list[tuple[Path, str]] = []
    try:
        for number, size in enumerate(layer_bytes):
            path = folder / f"{os.getpid()}-{number}.tar.gz"
            layer = _Layer(path)
            member = tarfile.TarInfo(f"opt/random-{number}")
            member.size = size
            layer.tar.addfile(member, io.BytesIO(os.urandom(size)))
            extra.append((path, layer.close()))
        registry.push(repository, TAG, [*_layers(), *extra], {"Env": _ENVIRONMENT, "Cmd": ["/usr/bin/python3"]})
    finally:
        for path, _ in extra:
            path.unlink()
    return f"{registry.ADDRESS}/{repository}:{TAG}"


def _layers() -> list[tuple[Path, str]]:
    """Return the layers (gzipped file, digest of the tar inside), made once."""
    folder = engines_dir() / "image" / _RECIPE
    if not (folder / "complete").exists():
        if os.geteuid() != 0:
            raise Missing("the test image can only be made by root (mmdebstrap)")
        debian_packages({"mmdebstrap": "mmdebstrap"})
        folder.mkdir(parents=True, exist_ok=True)
        with step(f"mmdebstrap {SUITE} with {' '.join(PACKAGES)}"):
            _bootstrap(folder)
        (folder / "complete").touch()
    return [(folder / f"{name}.tar.gz", (folder / f"{name}.digest").read_text()) for name in LAYERS]


def _bootstrap(folder: Path) -> None:
    argv = [find_program("mmdebstrap") or "mmdebstrap", "--variant=essential", "--format=tar", "--quiet"]
    argv += [f"--include={','.join(PACKAGES)}", *(f"--dpkgopt=path-exclude={path}" for path in _UNUSED)]
    with (folder / "mmdebstrap.log").open("w+b") as log:
        with subprocess.Popen(
            [*argv, SUITE, "-", *([MIRROR] if MIRROR else [])], stdout=subprocess.PIPE, stderr=log
        ) as bootstrap:
            assert bootstrap.stdout is not None
            try:
                _cut(bootstrap.stdout, folder)
            except tarfile.ReadError:
                say("  the archive ends early")
        if bootstrap.returncode:
            log.seek(0)
            text = last_lines(log.read().decode(errors="replace"))
            raise Missing(f"mmdebstrap cannot make the test image from {MIRROR or 'its default mirror'}:\n{text}")


def _cut(archive: IO[bytes], folder: Path) -> None:
    """Cut one archive into the layers. Folders all belong to the base; a hard link goes where its target is."""
    sinks = {name: _Layer(folder / f"{name}.tar.gz") for name in LAYERS}
    with tarfile.open(fileobj=archive, mode="r|") as source:
        for member in source:
            name = member.name.removeprefix("./")
            if name.startswith("dev/"):
                continue
            layer = _layer_of(member.linkname.removeprefix("./") if member.islnk() else name, member.isdir())
            sinks[layer].tar.addfile(member, source.extractfile(member) if member.isreg() else None)
    for name, sink in sinks.items():
        (folder / f"{name}.digest").write_text(sink.close())


def _layer_of(name: str, is_folder: bool) -> str:
    if is_folder:
        return "base"
    if name.startswith(_PYTHON_PATHS):
        return "python"
    return "tools" if name.startswith(_TOOLS_PATHS) or name.endswith((".a", ".o")) else "base"


class _Layer:
    """A tar, hashed as it is written, gzipped lightly: it travels over loopback only."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._gzip = gzip.GzipFile("", "wb", compresslevel=1, fileobj=self._file, mtime=0)
        self._hash = hashlib.sha256()
        self.tar = tarfile.open(fileobj=self, mode="w|", format=tarfile.GNU_FORMAT)  # type: ignore[call-overload]  # noqa: SIM115

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._gzip.write(data)

    def close(self) -> str:
        """Finish and return the digest of the tar."""
        self.tar.close()
        self._gzip.close()
        self._file.close()
        return f"sha256:{self._hash.hexdigest()}"
