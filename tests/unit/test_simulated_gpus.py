"""Simulated GPUs, and the small parts of the simulated engine that are pure."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.units import GIB, MIB
from modelgrid.ports.gpu_probe import GpuProbe
from modelgrid.simulator.faults import Faults, parse_faults
from modelgrid.simulator.gpu_state import Claim, read_claims, remove_claim, start_ticks, write_claim, write_foreign
from modelgrid.simulator.gpus import SimulatedGpuProbe, by_id, simulated_gpus
from modelgrid.simulator.prefix_cache import PrefixCache
from modelgrid.simulator.settings import parse_settings
from modelgrid.simulator.text import OPENING, answer, count_tokens, seed_of, token_bytes, token_ids


def own_claim(**bytes_by_gpu: int) -> Claim:
    return Claim(
        pid=os.getpid(),
        start_ticks=start_ticks(os.getpid()),
        name="me",
        bytes_by_gpu={name.replace("_", "-"): size for name, size in bytes_by_gpu.items()},
        utilization=50.0,
    )


def test_counts_lists_and_defaults() -> None:
    assert [gpu.name for gpu in simulated_gpus()] == ["NVIDIA H100 80GB HBM3"] * 2
    assert simulated_gpus(True) == simulated_gpus(2)
    assert simulated_gpus(0) == simulated_gpus(False) == ()
    small, large, own = simulated_gpus(["l4", "NVIDIA H200", ("Home made", 12.5)])
    assert small.vram_bytes == 23_034 * MIB
    assert large.name == "NVIDIA H200"
    assert (own.name, own.vram_bytes) == ("Home made", int(12.5 * GIB))
    with pytest.raises(InvalidInput, match="no simulated GPU of kind 'H9'") as refused:
        simulated_gpus(["H9"])
    assert "H100" in refused.value.fix


def test_idle_devices_say_that_they_are_simulated(tmp_path: Path) -> None:
    probe: GpuProbe = SimulatedGpuProbe(simulated_gpus(["H100", "L4"]), tmp_path / "absent")
    first, second = probe.read()
    assert (first.id, second.id) == ("nvidia-0", "nvidia-1")
    assert first.vendor is GpuVendor.NVIDIA
    assert first.name == "NVIDIA H100 80GB HBM3 (simulated)"
    assert first.simulated
    assert second.simulated
    assert first.uuid != second.uuid
    assert first.uuid == probe.read()[0].uuid
    assert first.uuid != SimulatedGpuProbe(simulated_gpus(1), tmp_path).read()[0].uuid
    assert first.vram_used_bytes + first.vram_free_bytes == first.vram_total_bytes
    assert first.vram_used_bytes == 512 * MIB
    assert first.utilization_percent == 0.0
    assert not first.processes
    report = probe.drivers()
    assert report.simulated
    assert report.installed
    assert not report.hardware_present


def test_claims_fill_the_devices_and_go_with_their_process(tmp_path: Path) -> None:
    probe = SimulatedGpuProbe(simulated_gpus(2), tmp_path, now=lambda: 1000.0)
    idle = probe.read()
    write_claim(tmp_path, own_claim(nvidia_0=10 * GIB, nvidia_1=4 * GIB))
    busy = probe.read()
    assert busy[0].vram_used_bytes - idle[0].vram_used_bytes == 10 * GIB
    assert busy[1].vram_used_bytes - idle[1].vram_used_bytes == 4 * GIB
    (process,) = busy[0].processes
    assert (process.pid, process.name, process.used_bytes) == (os.getpid(), "me", 10 * GIB)
    for reading in ("utilization_percent", "temperature_celsius", "power_watts", "clock_core_mhz"):
        assert getattr(busy[0], reading) > getattr(idle[0], reading)
    remove_claim(tmp_path, os.getpid())
    remove_claim(tmp_path, os.getpid())
    assert probe.read() == idle


def test_foreign_memory_counts_and_never_exceeds_the_device(tmp_path: Path) -> None:
    probe = SimulatedGpuProbe(simulated_gpus(1), tmp_path)
    held = write_foreign(tmp_path, "notebook", {"nvidia-0": 30 * GIB})
    (gpu,) = probe.read()
    assert gpu.vram_used_bytes == 30 * GIB + 512 * MIB
    assert gpu.processes[0].name == "notebook"
    write_foreign(tmp_path, "notebook", {"nvidia-0": 300 * GIB})
    (gpu,) = probe.read()
    assert gpu.vram_free_bytes == 0
    held.unlink()
    assert not probe.read()[0].processes


def test_stale_claims_are_ignored_and_deleted(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticks = start_ticks(child.pid)
    assert ticks is not None
    theirs = Claim(pid=child.pid, start_ticks=ticks, name="child", bytes_by_gpu={"nvidia-0": GIB})
    path = write_claim(tmp_path, theirs)
    assert read_claims(tmp_path) == (theirs,)
    child.communicate(b"\n")
    assert start_ticks(child.pid) is None
    assert read_claims(tmp_path) == ()
    assert not path.exists()
    # The pid was given to another process meanwhile: its start time tells.
    reused = Claim(pid=os.getpid(), start_ticks=1, name="dead", bytes_by_gpu={"nvidia-0": GIB})
    path = write_claim(tmp_path, reused)
    assert read_claims(tmp_path) == ()
    assert not path.exists()
    (tmp_path / "other.json").write_text("not ours")
    assert read_claims(tmp_path) == ()


@pytest.mark.parametrize(
    ("specs", "faults"),
    [
        ([], Faults()),
        (["oom-at-load", "slow=2.5"], Faults(oom_at_load=True, slow=2.5)),
        (["status=503"], Faults(status=503, status_rate=1.0)),
        (["status=429:0.25"], Faults(status=429, status_rate=0.25)),
        (["die-mid-stream"], Faults(die_mid_stream=3)),
        (["drop-mid-stream=0", "exit-after=7", "exit-at-load=137"],
         Faults(drop_mid_stream=0, exit_after=7, exit_at_load=137)),
    ],
)  # fmt: skip
def test_faults_are_parsed(specs: list[str], faults: Faults) -> None:
    assert parse_faults(specs) == faults


@pytest.mark.parametrize(
    "spec",
    ["", "explode", "hang=1", "slow", "slow=0", "slow=nan", "status=200", "status=503:2", "exit-after=0",
     "exit-at-load=256", "exit-at-load", "die-mid-stream=-1"],
)  # fmt: skip
def test_what_is_no_fault_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="fault"):
        parse_faults([spec])


def test_the_command_line_is_that_of_vllm() -> None:
    settings, ignored = parse_settings(
        ["serve", "meta-llama/Llama", "--served-model-name", "a", "b", "--port", "9000", "--host", "127.0.0.1",
         "--max_model_len", "32K", "--tensor-parallel-size=2", "--max-num-seqs", "8", "--api-key", "k1", "k2",
         "--gpu-memory-utilization", "0.8", "--dtype", "bfloat16", "--enforce-eager",
         "--sim-gpu-ids", "nvidia-0,nvidia-1", "--sim-gpu-total-bytes", "1000"]
    )  # fmt: skip
    assert settings.model == "meta-llama/Llama"
    assert settings.served_names == ("a", "b")
    assert settings.api_keys == ("k1", "k2")
    assert (settings.context, settings.kv_cache_tokens) == (32_768, 4 * 32_768)
    assert (settings.tensor_parallel, settings.max_sequences) == (2, 8)
    assert settings.gpu_ids == ("nvidia-0", "nvidia-1")
    assert settings.reserved_bytes == 800
    assert ignored == ("--dtype", "bfloat16", "--enforce-eager")


@pytest.mark.parametrize(
    "arguments",
    [["--sim-fault", "no-such"], ["--sim-nothing"], ["--max-model-len", "0"], ["--sim-ttft", "-1"], ["--port", "x"]],
)
def test_unusable_settings_end_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["serve", "m", *arguments])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_text_is_the_same_for_the_same_prompt_and_counts_as_asked() -> None:
    for tokens in (0, 1, 2, 3, 4, 64, 5000, 9000):
        assert len(answer(seed_of(b"prompt"), tokens)) == tokens
    text = "".join(answer(seed_of(b"prompt"), 40))
    assert text == "".join(answer(seed_of(b"prompt"), 40))
    assert text.startswith("".join(OPENING))
    assert text != "".join(answer(seed_of(b"other"), 40))
    assert text != "".join(answer(seed_of(b"prompt", 1), 40))
    assert text.isascii()
    assert not set(text) & {'"', "\\", "\n"}


@pytest.mark.parametrize("text", ["", "a", "abcd", "abcde", "grüße 🎈", "x" * 1001])
def test_tokens_can_be_undone_and_are_counted_alike(text: str) -> None:
    data = text.encode()
    assert token_bytes(token_ids(data)) == data
    assert max(1, len(token_ids(data))) == count_tokens(data)


def test_prefix_cache_finds_heads_and_forgets_the_oldest() -> None:
    cache = PrefixCache(capacity=8)
    shared, tokens = b"s" * 256, count_tokens(b"s" * 256 + b"a" * 64)
    assert cache.admit(shared + b"a" * 64, tokens) == 0
    assert cache.admit(shared + b"b" * 64, tokens) == 64
    # The last block is always computed, even when it is known.
    assert cache.admit(shared + b"a" * 64, tokens) == 64
    assert (cache.queries, cache.hits) == (3 * tokens, 128)
    cache.admit(b"z" * 64 * 8, 128)
    assert cache.admit(shared + b"a" * 64, tokens) == 0


def test_reading_is_quick_enough_to_be_done_every_second(tmp_path: Path) -> None:
    for number in range(50):
        write_foreign(tmp_path, str(number), {"nvidia-0": MIB})
    probe = SimulatedGpuProbe(simulated_gpus(8), tmp_path)
    began = time.perf_counter()
    assert len(probe.read()[0].processes) == 50
    assert time.perf_counter() - began < 0.5


def test_devices_of_several_vendors_are_numbered_and_read_by_vendor(tmp_path: Path) -> None:
    devices = simulated_gpus(["MI300X", "L4", ("AMD Instinct MI300X", 192), ("Intel Data Center GPU Max", 48), "H100"])
    assert list(by_id(devices)) == ["amd-0", "nvidia-0", "amd-1", "intel-0", "nvidia-1"]
    write_claim(tmp_path, Claim(pid=1, start_ticks=start_ticks(1), name="e", bytes_by_gpu={"amd-1": 5 * GIB}))
    amd = SimulatedGpuProbe(devices, tmp_path, vendor=GpuVendor.AMD)
    assert [(gpu.id, gpu.vendor, gpu.name) for gpu in amd.read()] == [
        ("amd-0", GpuVendor.AMD, "AMD Instinct MI300X (simulated)"),
        ("amd-1", GpuVendor.AMD, "AMD Instinct MI300X (simulated)"),
    ]
    assert amd.read()[1].vram_used_bytes - amd.read()[0].vram_used_bytes == 5 * GIB
    assert amd.drivers().vendor is GpuVendor.AMD
    nvidia = SimulatedGpuProbe(devices, tmp_path).read()
    assert [gpu.id for gpu in nvidia] == ["nvidia-0", "nvidia-1"]
    uuids = {gpu.uuid for gpu in (*nvidia, *amd.read())}
    assert len(uuids) == 4
    (intel,) = SimulatedGpuProbe(devices, tmp_path, vendor=GpuVendor.INTEL).read()
    assert (intel.id, intel.vram_total_bytes) == ("intel-0", 48 * GIB)
