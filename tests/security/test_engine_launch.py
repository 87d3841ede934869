"""What a target's author can put into a launch, and what must not come of it (rows S17, S18, S19)."""

import asyncio
import base64
import json
import os
import random
import re
import socket
import string
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from runtime_stage import SOCKETS, Stage, get, stage, unusable

from modelgrid.adapters.mounts import check_mounts
from modelgrid.adapters.runtime_docker import container
from modelgrid.adapters.runtime_docker.runtime import DockerRuntime
from modelgrid.domain.engine import EngineLaunch, GpuBinding
from modelgrid.domain.errors import InvalidInput, LaunchRefused, RuntimeUnavailable
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId
from modelgrid.domain.target import Mount, RuntimeKind

STRINGS = 500
CONTAINED = [pytest.param(kind, marks=pytest.mark.engines) for kind in (RuntimeKind.DOCKER, RuntimeKind.PODMAN)]
ECHO = (
    "import base64, json, os, sys\n"
    "env = {k: v for k, v in os.environ.items() if k.startswith('FUZZ')}\n"
    "told = base64.b64encode(json.dumps([sys.argv[1:], env]).encode()).decode()\n"
    "for at in range(0, len(told), 4000): print('>' + told[at:at + 4000])\n"
)


@pytest.fixture(params=[RuntimeKind.PROCESS, *CONTAINED], ids=lambda kind: kind.value)
async def theatre(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    if reason := await unusable(request.param):
        pytest.skip(f"{request.param}: {reason}")
    async with stage(request.param, tmp_path) as made:
        yield made


def fuzz(canary: str, count: int = STRINGS) -> list[str]:
    """Strings that make a shell, a URL, a JSON document or an option parser stumble; `canary` is a file to touch."""
    chance = random.Random(17)
    templates = (
        "$(touch {c})", "`touch {c}`", "; touch {c}", "& touch {c} &", "| touch {c}", "|| touch {c}", "&& touch {c}",
        "\ntouch {c}\n", "'; touch {c}; '", '"; touch {c}; "', "$(</etc/passwd)", "${{IFS}}touch${{IFS}}{c}", "> {c}",
        "--privileged", "-v /:/host", "--pid=host", "--rm=false", "-e X=$(touch {c})", "../../{c}", "/../{c}",
        "x:$(touch {c})", "a b\tc", "\\", "\\n", "'", '"', "%s%n", "%00", "{{}}", "{c}", "*", "~", "!!", "\u202e",
        "?fromSrc=-", "#frag", "x@sha256:zz", "UPPER/x", "é", "🦙", '{{"Privileged": true}}', "a=b", "=", "-", "--", "",
    )  # fmt: skip
    strings = [template.format(c=canary) for template in templates]
    alphabet = string.ascii_letters + string.digits + "$`;&|<>(){}[]'\"\\/.:@-_=?#%!*~ \t\n\r\x01\x7fé"
    while len(strings) < count:
        strings.append("".join(chance.choices(alphabet, k=chance.randint(1, 60))))
    return strings


async def test_no_string_of_500_reaches_a_shell(theatre: Stage) -> None:
    canary = theatre.folder / "canary"
    strings = fuzz(str(canary))
    runtime = theatre.runtime()
    seen: list[str] = []
    for number, at in enumerate(range(0, STRINGS, 125)):
        part = strings[at : at + 125]
        env = {f"FUZZ{index}": text for index, text in enumerate(part)}
        python = "python3" if theatre.contained else sys.executable
        launch = replace(theatre.launch(name=f"fuzz{number}"), argv=(python, "-c", ECHO, *part), env=env)
        ref = await runtime.start(launch)
        ended = await asyncio.wait_for(runtime.wait(ref), 30)
        lines = [line.text async for line in runtime.logs(ref)]
        assert ended is not None
        assert ended.code == 0, lines
        told = json.loads(base64.b64decode("".join(line[1:] for line in lines if line.startswith(">"))))
        assert told == [part, env]
        seen.extend(told[0])
    assert seen == strings
    assert not canary.exists()
    assert {path.name for path in theatre.folder.iterdir()} <= {"engines"}


class Counter:
    """A socket in the place of an engine's that counts who comes and hangs up."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.requests: list[bytes] = []

    async def __aenter__(self) -> "Counter":
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.requests.append(await reader.read(4096))
            writer.close()

        self.server = await asyncio.start_unix_server(serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()


GRAMMAR = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:/@-]*")


@pytest.mark.parametrize("field", ["image", "deployment", "network"])
async def test_names_of_500_are_refused_before_anything_is_asked(field: str, tmp_path: Path) -> None:
    launch = EngineLaunch(deployment=DeploymentId("x"), attempt=1, argv=(), image="vllm/vllm-openai:v1", port=1)
    passed = []
    async with Counter(tmp_path / "engine.sock") as engine:
        runtime = DockerRuntime(RuntimeKind.DOCKER, engine.path, "owner", [], "")
        for text in fuzz(str(tmp_path / "canary")):
            asked = len(engine.requests)
            try:
                await runtime.start(replace(launch, **{field: text}))  # type: ignore[arg-type]
            except (InvalidInput, LaunchRefused):
                assert len(engine.requests) == asked, text
            except RuntimeUnavailable:  # it was let through to the engine, who hung up
                passed.append(text)
        await runtime.close()
    assert all(GRAMMAR.fullmatch(text) for text in passed if text), passed
    assert len(passed) < 60
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        ("vllm/vllm-openai:v0.11.0", True),
        ("python", True),
        ("registry.example.com:5000/a/b_c/d--e:Tag_1.2", True),
        ("127.0.0.1:5000/x@sha256:" + "a" * 64, True),
        ("-v", False),
        ("--privileged", False),
        ("", False),
        ("x:", False),
        ("x:-tag", False),
        ("x/UPPER", False),
        ("a//b", False),
        ("/a", False),
        ("../containers/json?", False),
        ("a/../b", False),
        ("x?fromSrc=http://evil", False),
        ("x#y", False),
        ("x y", False),
        ("x\n", False),
        ("x@sha256:abc", False),
        ("http://x/y", False),
        ("a" * 600, False),
    ],
)
def test_image_references(image: str, valid: bool) -> None:
    launch = EngineLaunch(deployment=DeploymentId("x"), attempt=1, argv=(), image=image, port=1)
    if valid:
        container.check_launch(launch)
    else:
        with pytest.raises(InvalidInput):
            container.check_launch(launch)


@pytest.mark.parametrize("network", ["host", "none", "container:abc", "ns:/proc/1/ns/net", "-x", "a b", "pasta"])
def test_networks_of_the_host_are_refused(network: str) -> None:
    with pytest.raises(LaunchRefused):
        DockerRuntime(RuntimeKind.DOCKER, "/x.sock", "owner", [], network)


# Mounts --------------------------------------------------------------------------------------------------


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    (tmp_path / "allowed" / "models").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed" / "file").write_text("")
    (tmp_path / "allowed" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "allowed" / "proc").symlink_to("/proc")
    (tmp_path / "allowed" / "in").symlink_to(tmp_path / "allowed" / "models")
    (tmp_path / "allowed" / "loop").symlink_to(tmp_path / "allowed" / "loop")
    os.mkfifo(tmp_path / "allowed" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "allowed" / "docker.sock"))
    return tmp_path


def mount(source: str, target: str = "/data") -> Mount:
    return Mount(source=source, target=target)


@pytest.mark.parametrize("source", ["{r}/allowed", "{r}/allowed/models", "{r}/allowed/file", "{r}/allowed/in"])
def test_what_lies_below_an_allowed_root_is_bound_by_its_real_path(roots: Path, source: str) -> None:
    asked = mount(source.format(r=roots))
    (checked,) = check_mounts([asked], [roots / "allowed"])
    assert checked == replace(asked, source=os.path.realpath(asked.source))


@pytest.mark.parametrize(
    "source",
    [
        "/", "/etc", "/proc", "/proc/1/root", "/sys", "/dev", "/dev/kmsg", "/var/run/docker.sock", "/run", "/var/run",
        "{r}", "{r}/outside", "{r}/allowed-not", "{r}/allowed/../outside", "{r}/allowed/..", "{r}/allowed/models/../..",
        "{r}/allowed/out", "{r}/allowed/proc", "{r}/allowed/proc/1/root", "{r}/allowed/docker.sock", "{r}/allowed/fifo",
        "{r}/allowed/missing", "{r}/allowed/loop", "relative", "", "./x", "~", "{r}/allowed/\0x", "//proc", "/./proc",
    ],
)  # fmt: skip
@pytest.mark.parametrize("wide", [False, True], ids=["one-root", "root-is-/"])
def test_escapes_are_refused(roots: Path, source: str, wide: bool) -> None:
    path = source.format(r=roots)
    harmless = path.startswith((str(roots), "/etc")) and ".." not in path
    refusable = {"docker.sock", "fifo", "missing", "loop", "proc", "root"}
    if wide and harmless and Path(path).name not in refusable and "\0" not in path:
        pytest.skip("allowed by an operator who allows /")
    with pytest.raises((InvalidInput, LaunchRefused)) as refused:
        check_mounts([mount(path)], [Path("/")] if wide else [roots / "allowed"])
    assert refused.value.message


@pytest.mark.parametrize("target", ["/", "/proc", "/proc/x", "/sys/fs", "/dev/shm", "relative", "/a/../..", "", "/a\0"])
def test_targets_that_break_the_container_are_refused(roots: Path, target: str) -> None:
    with pytest.raises(InvalidInput):
        check_mounts([mount(str(roots / "allowed"), target)], [roots / "allowed"])


def test_a_link_that_was_turned_after_the_first_check_is_caught_by_the_second(roots: Path) -> None:
    link = roots / "allowed" / "turning"
    link.symlink_to(roots / "allowed" / "models")
    check_mounts([mount(str(link))], [roots / "allowed"])
    link.unlink()
    link.symlink_to("/etc")
    with pytest.raises(LaunchRefused, match="outside the allowed"):
        check_mounts([mount(str(link))], [roots / "allowed"])


@pytest.fixture(params=CONTAINED, ids=lambda kind: kind.value)
async def contained(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    if reason := await unusable(request.param):
        pytest.skip(f"{request.param}: {reason}")
    async with stage(request.param, tmp_path) as made:
        yield made


async def test_the_check_is_made_at_start(contained: Stage) -> None:
    runtime = contained.runtime()
    for source in ("/", "/etc", SOCKETS[contained.kind], str(contained.folder / "..")):
        with pytest.raises((InvalidInput, LaunchRefused)):
            await runtime.start(replace(contained.launch(), mounts=(mount(source),)))
    assert await runtime.find() == ()


# Privilege -----------------------------------------------------------------------------------------------


async def inspected(theatre: Stage, container_id: str) -> dict[str, object]:
    transport = httpx.AsyncHTTPTransport(uds=SOCKETS[theatre.kind])
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        answer: dict[str, object] = (await client.get(f"/v1.41/containers/{container_id}/json")).json()
        return answer


async def test_the_created_container_has_no_privilege(contained: Stage) -> None:
    runtime = contained.runtime()
    launch = contained.launch()
    ref = await contained.started(runtime, launch)
    told = await inspected(contained, ref.id)
    host: dict[str, object] = told["HostConfig"]  # type: ignore[assignment]
    assert host["Privileged"] is False
    for name in ("PidMode", "UTSMode", "UsernsMode"):
        assert host.get(name) in {"", "private", None}, name
    assert host["IpcMode"] in {"private", "shareable"}
    assert host["NetworkMode"] in {"modelgrid-test", "bridge"}  # Podman tells the driver
    assert list(told["NetworkSettings"]["Networks"]) == ["modelgrid-test"]  # type: ignore[index]
    assert not host.get("Devices")
    assert not host.get("DeviceRequests")
    assert not host.get("VolumesFrom")
    assert any(str(option).startswith("no-new-privileges") for option in host["SecurityOpt"])  # type: ignore[attr-defined]
    assert host["RestartPolicy"]["Name"] in {"no", ""}  # type: ignore[index]
    assert host["ShmSize"] == launch.shm_bytes
    assert host["Init"] is True
    assert host["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(launch.port)}]}
    assert [(m["Source"], m["RW"]) for m in told["Mounts"]] == [(launch.mounts[0].source, False)]  # type: ignore[attr-defined]
    # What the kernel says, not what was asked for.
    pid = (await runtime.stats(ref)).pids[0]
    status = dict(line.split(":\t", 1) for line in proc(pid, "status").splitlines() if ":\t" in line)
    bits = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7}
    allowed = sum(1 << bits[name] for name in container.CAPABILITIES)
    assert int(status["CapBnd"], 16) & ~allowed == 0
    assert int(status["CapEff"], 16) & ~allowed == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    for namespace in ("pid", "net", "ipc", "uts", "mnt"):
        assert link(pid, namespace) != link(os.getpid(), namespace), namespace
    assert await get(ref, "/health") == "ok"


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def link(pid: int, namespace: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{namespace}").readlink())


def test_gpus_are_asked_for_by_uuid_and_nothing_else_is_given() -> None:
    gpu = GpuBinding(id=GpuId("nvidia-0"), vendor=GpuVendor.NVIDIA, index=0, uuid="GPU-1")
    launch = EngineLaunch(
        deployment=DeploymentId("x"), attempt=1, argv=(), image="x", port=1,
        gpus=(gpu, replace(gpu, id=GpuId("nvidia-1"), index=1, uuid="GPU-2")),
    )  # fmt: skip
    docker = container.container_config(launch, (), "owner", RuntimeKind.DOCKER, "")["HostConfig"]
    assert docker["DeviceRequests"] == [{"DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}]
    podman = container.container_config(launch, (), "owner", RuntimeKind.PODMAN, "")["HostConfig"]
    assert podman["DeviceRequests"] == [
        {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=GPU-2"]}
    ]
    assert "Devices" not in docker
    mixed = replace(launch, gpus=(gpu, replace(gpu, vendor=GpuVendor.AMD)))
    with pytest.raises(InvalidInput):
        container.container_config(mixed, (), "owner", RuntimeKind.DOCKER, "")


@pytest.mark.skipif(Path("/dev/kfd").exists(), reason="this host has an AMD GPU")
def test_a_missing_device_file_is_refused() -> None:
    gpu = GpuBinding(id=GpuId("amd-0"), vendor=GpuVendor.AMD, index=0, uuid="0")
    launch = EngineLaunch(deployment=DeploymentId("x"), attempt=1, argv=(), image="x", port=1, gpus=(gpu,))
    with pytest.raises(LaunchRefused, match="/dev/kfd"):
        container.container_config(launch, (), "owner", RuntimeKind.DOCKER, "")


async def test_old_podman_does_not_pretend_to_give_gpus(contained: Stage) -> None:
    if contained.kind is not RuntimeKind.PODMAN:
        pytest.skip("Podman only")
    gpu = GpuBinding(id=GpuId("nvidia-0"), vendor=GpuVendor.NVIDIA, index=0, uuid="GPU-1")
    version = (await contained.runtime().health()).version
    if tuple(int(part) for part in version.split(".")[:2]) >= container.PODMAN_CDI_VERSION:
        pytest.skip(f"Podman {version} honours GPU requests")
    with pytest.raises(LaunchRefused, match="ignores GPU requests"):
        await contained.runtime().start(replace(contained.launch(), gpus=(gpu,)))


async def test_errors_do_not_repeat_values_of_the_environment(contained: Stage) -> None:
    """An engine's own words can quote the launch: here the port that is taken, which is also a secret."""
    runtime = contained.runtime()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        with pytest.raises(LaunchRefused) as refused:
            await runtime.start(replace(contained.launch(), port=port, env={"HF_TOKEN": f"127.0.0.1:{port}"}))
    assert f"127.0.0.1:{port}" not in str(refused.value)
    assert "could not start" in refused.value.message
