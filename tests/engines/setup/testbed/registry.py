"""A container registry on loopback, and the little of its HTTP API that is needed to fill it.

Images are put into it directly, without a container engine, so that engines really pull them, layer by layer."""

import hashlib
import http.client
import json
import os
import shutil
from pathlib import Path
from typing import Any

from testbed.common import (
    Daemon,
    Missing,
    apt,
    engines_dir,
    find_program,
    port_is_taken,
    require_apt,
    run,
    say,
    step,
    wait_for,
)

ADDRESS = os.environ.get("MODELGRID_TEST_REGISTRY") or "127.0.0.1:5000"
"""Loopback, so that container engines accept it without TLS."""
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def answers() -> bool:
    """Return whether an open registry answers at `ADDRESS`."""
    try:
        return _call("GET", "/v2/")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def start() -> None:
    if answers():
        return
    if port_is_taken(ADDRESS):
        raise Missing(f"{ADDRESS} is used by something else than an open registry; set MODELGRID_TEST_REGISTRY")
    folder = engines_dir() / "registry"
    folder.mkdir(parents=True, exist_ok=True)
    program = find_program("docker-registry") or _unpacked(folder)
    with step(f"registry at {ADDRESS}"):
        (folder / "config.yml").write_text(
            f"version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {folder / 'data'}\n"
            f"  delete:\n    enabled: true\nhttp:\n  addr: {ADDRESS}\n"
        )
        daemon = Daemon("registry", engines_dir() / "run")
        daemon.start([program, "serve", folder / "config.yml"])
        if not wait_for(answers, 20, daemon.alive):
            daemon.stop()
            raise RuntimeError(f"the registry does not start:\n{daemon.problem()}")


def stop() -> None:
    if Daemon("registry", engines_dir() / "run").stop():
        say("stopped registry")


def has(repository: str, tag: str) -> bool:
    return _call("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST})[0] == 200


def labels(repository: str, tag: str) -> dict[str, str]:
    """Return the labels of an image; empty when it is not there."""
    status, _, body = _call("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST})
    if status != 200:
        return {}
    digest = json.loads(body)["config"]["digest"]
    status, _, body = _call("GET", f"/v2/{repository}/blobs/{digest}")
    found: dict[str, str] = json.loads(body)["config"].get("Labels") or {} if status == 200 else {}
    return found


def push(repository: str, tag: str, layers: list[tuple[Path, str]], config: dict[str, Any]) -> None:
    """Put an image of gzipped `layers` (file, digest of the unpacked tar) into the registry."""
    document = {
        "architecture": _architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        "history": [{"created_by": path.name} for path, _ in layers],
    }
    encoded = json.dumps(document).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **_upload_bytes(repository, encoded)},
        "layers": [{"mediaType": LAYER, **_upload_file(repository, path)} for path, _ in layers],
    }
    status, _, body = _call(
        "PUT", f"/v2/{repository}/manifests/{tag}", json.dumps(manifest).encode(), {"Content-Type": MANIFEST}
    )
    if status != 201:
        raise RuntimeError(f"the registry refuses {repository}:{tag}: {status} {body.decode(errors='replace')}")


def _upload_bytes(repository: str, data: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    _upload(repository, digest, data, len(data))
    return {"size": len(data), "digest": digest}


def _upload_file(repository: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        file.seek(0)
        _upload(repository, digest, file, path.stat().st_size)
    return {"size": path.stat().st_size, "digest": digest}


def _upload(repository: str, digest: str, data: Any, size: int) -> None:
    if _call("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
        return
    status, headers, _ = _call("POST", f"/v2/{repository}/blobs/uploads/")
    if status != 202:
        raise RuntimeError(f"the registry takes no upload: {status}")
    location = headers["Location"]
    path = location.partition(ADDRESS)[2] or location
    joiner = "&" if "?" in path else "?"
    more = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    status, _, body = _call("PUT", f"{path}{joiner}digest={digest}", data, more)
    if status != 201:
        raise RuntimeError(f"the registry refuses a blob: {status} {body.decode(errors='replace')}")


def _call(
    method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(ADDRESS, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def _unpacked(folder: Path) -> str:
    """Return the registry's program out of Debian's package, not installed: the package starts a service of its own
    on the same port."""
    program = folder / "package/usr/bin/docker-registry"
    if not program.exists():
        require_apt("docker-registry")
        with step("apt-get download docker-registry"):
            shutil.rmtree(folder / "package", ignore_errors=True)
            try:
                apt(["download", "docker-registry"], why="docker-registry", cwd=folder)
            except RuntimeError:
                try:
                    apt(["update"], why="Debian package lists")
                    apt(["download", "docker-registry"], why="docker-registry", cwd=folder)
                except RuntimeError as error:
                    raise Missing(f"the Debian package docker-registry cannot be had: {error}") from error
            (package,) = folder.glob("docker-registry_*.deb")
            run(["dpkg", "-x", package, folder / "package"], why="unpack docker-registry")
            package.unlink()
    return str(program)


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
