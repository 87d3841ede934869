"""Whose memory of a GPU is in use, and whose a process is."""

import os
import subprocess
import sys
import time

import pytest

from modelgrid.adapters.process_owner import ProcessOwner
from modelgrid.decide.gpu_share import memory_share
from modelgrid.domain.gpu import Gpu, GpuProcess, GpuVendor
from modelgrid.domain.ids import GpuId

OURS = GpuProcess(pid=1, name="vllm", used_bytes=30, deployment="a")
MORE = GpuProcess(pid=2, name="vllm", used_bytes=10, deployment="b")
THEIRS = GpuProcess(pid=3, name="python", used_bytes=20)
STRANGER = GpuProcess(pid=4, name="vllm", used_bytes=20, deployment="of another daemon")
SILENT = GpuProcess(pid=5, name="vllm", deployment="a")


@pytest.mark.parametrize(
    ("processes", "placed", "share"),
    [
        ((), (), (0, 70)),
        ((), ("a",), (None, None)),
        ((OURS,), ("a",), (30, 40)),
        ((OURS, MORE, THEIRS), ("a", "b"), (40, 30)),
        ((THEIRS,), ("a",), (0, 70)),
        ((STRANGER,), (), (0, 70)),
        ((SILENT, THEIRS), ("a",), (None, None)),
        ((OURS, GpuProcess(pid=6, name="vllm", used_bytes=90, deployment="b")), ("a", "b"), (70, 0)),
    ],
)
def test_the_share_of_a_gpu(
    processes: tuple[GpuProcess, ...], placed: tuple[str, ...], share: tuple[int | None, int | None]
) -> None:
    gpu = Gpu(
        id=GpuId("nvidia-0"), vendor=GpuVendor.NVIDIA, index=0, uuid="u", name="n", vram_total_bytes=100,
        vram_used_bytes=70, vram_free_bytes=30, processes=processes,
    )  # fmt: skip
    assert memory_share(gpu, placed, {"a", "b"}) == share


def test_a_process_and_its_children_belong_to_what_started_them() -> None:
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    environment = {**os.environ, "MODELGRID_DEPLOYMENT": "qwen-x1"}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        child = int(started.stdout.readline())
        owner = ProcessOwner(dict)
        try:
            assert owner.of(started.pid) == "qwen-x1"
            deadline = time.monotonic() + 10
            while owner.of(child) is None and time.monotonic() < deadline:
                time.sleep(0.001)  # the kernel shows an environment a moment after the program has begun
            assert owner.of(child) == "qwen-x1"
        finally:
            os.kill(child, 9)
    assert owner.of(started.pid) is None, "it has ended"
    assert owner.of(os.getpid()) is None
