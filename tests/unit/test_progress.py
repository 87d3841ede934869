"""The phases of a start, from recorded logs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.progress import Phase, StartProgress, advance, progress_of

CPU_0_32 = """\
(APIServer pid=19623) INFO 11-23 16:14:20 [api_utils.py:347]  ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.32.0
(APIServer pid=19623) WARNING 11-23 16:14:20 [vllm.py:1703] Enforce eager set, disabling torch.compile, CUDAGraphs, and JIT kernel warmup.
(Worker pid=19715) INFO 11-23 16:14:35 [cpu_model_runner.py:68] Starting to load model /models/tiny...
Loading safetensors checkpoint shards:   0% Completed | 0/1 [00:00<?, ?it/s]
Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00, 120.79it/s]
(Worker pid=19715) INFO 11-23 16:14:35 [default_loader.py:501] Loading weights took 0.01 seconds
(Worker pid=19715) INFO 11-23 16:14:36 [cpu_worker.py:260] Explicitly set (1.0/9.84) GiB for KV cache on node 0.
(EngineCore pid=19672) INFO 11-23 16:14:36 [kv_cache_utils.py:2327] CPU KV cache size: 2,097,152 tokens, Maximum concurrency for 131,072 tokens per request: 16.00x
(EngineCore pid=19672) INFO 11-23 16:14:41 [core.py:402] init engine (profile, create kv cache, warmup model) took 4.41 s
(APIServer pid=19623) INFO 11-23 16:14:41 [entry.py:140] Starting vLLM server on http://0.0.0.0:18231
INFO:     Application startup complete.
""".splitlines()  # noqa: E501 - as recorded

GPU_0_11 = """\
(EngineCore_DP0 pid=215) INFO 10-13 09:06:25 [gpu_model_runner.py:2602] Starting to load model Qwen/Qwen3-8B...
model-00001-of-00005.safetensors:  37%|███▋      | 1.47G/4.00G [00:12<00:21, 118MB/s]
(EngineCore_DP0 pid=215) INFO 10-13 09:07:25 [weight_utils.py:413] Time spent downloading weights for Qwen/Qwen3-8B: 60.1 seconds
Loading safetensors checkpoint shards:  40% Completed | 2/5 [00:01<00:02,  1.29it/s]
(EngineCore_DP0 pid=215) INFO 10-13 09:07:31 [gpu_model_runner.py:2653] Model loading took 15.2683 GiB and 5.6 seconds
(EngineCore_DP0 pid=215) INFO 10-13 09:07:38 [backends.py:559] Dynamo bytecode transform time: 6.31 s
(EngineCore_DP0 pid=215) INFO 10-13 09:07:52 [gpu_worker.py:298] Available KV cache memory: 54.21 GiB
(EngineCore_DP0 pid=215) INFO 10-13 09:07:53 [kv_cache_utils.py:1087] GPU KV cache size: 394,704 tokens
(EngineCore_DP0 pid=215) INFO 10-13 09:07:53 [kv_cache_utils.py:1091] Maximum concurrency for 40,960 tokens per request: 9.64x
Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  51%|█████     | 34/67 [00:01<00:01, 26.02it/s]
(EngineCore_DP0 pid=215) INFO 10-13 09:07:57 [gpu_model_runner.py:3480] Graph capturing finished in 4 secs, took 0.58 GiB
(APIServer pid=1) INFO 10-13 09:08:00 [api_server.py:1912] Starting vLLM API server 0 on http://0.0.0.0:8000
""".splitlines()  # noqa: E501 - as recorded

OLD_0_6 = """\
INFO 11-15 09:07:20 model_runner.py:1060] Starting to load model facebook/opt-125m...
INFO 11-15 09:07:22 weight_utils.py:243] Using model weights format ['*.bin']
Loading pt checkpoint shards: 100% Completed | 1/1 [00:00<00:00,  4.17it/s]
INFO 11-15 09:07:23 model_runner.py:1071] Loading model weights took 0.2389 GB
INFO 11-15 09:07:24 gpu_executor.py:122] # GPU blocks: 27996, # CPU blocks: 7281
INFO 11-15 09:07:24 gpu_executor.py:126] Maximum concurrency for 2048 tokens per request: 218.72x
INFO 11-15 09:07:28 model_runner.py:1402] Capturing the model for CUDA graphs.
INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)
""".splitlines()


def phases(lines: list[str]) -> list[Phase]:
    progress, seen = StartProgress(), [Phase.LAUNCHING]
    for line in lines:
        progress = advance(progress, line)
        if progress.phase != seen[-1]:
            seen.append(progress.phase)
    return seen


def test_a_start_on_the_cpu() -> None:
    assert phases(CPU_0_32) == [Phase.LAUNCHING, Phase.LOADING, Phase.CACHE, Phase.SERVING]
    progress = progress_of(CPU_0_32)
    assert progress.kv_cache_tokens == 2_097_152
    assert progress.max_concurrency == 16.0
    assert progress.shards == (1, 1)


def test_a_start_on_a_gpu_with_a_download() -> None:
    # vLLM announces that it starts to load the model before it downloads; the download must show all the same.
    assert phases(GPU_0_11) == [
        Phase.LAUNCHING, Phase.DOWNLOADING, Phase.LOADING, Phase.COMPILING, Phase.CACHE, Phase.CAPTURING, Phase.SERVING,
    ]  # fmt: skip
    assert progress_of(GPU_0_11).kv_cache_tokens == 394_704


def test_a_start_of_vllm_0_6() -> None:
    assert phases(OLD_0_6) == [Phase.LAUNCHING, Phase.LOADING, Phase.CACHE, Phase.CAPTURING, Phase.SERVING]
    assert progress_of(OLD_0_6).max_concurrency == 218.72


def test_a_download_shows_bytes() -> None:
    progress = progress_of(GPU_0_11[:2])
    assert progress.percent == 37
    assert (progress.done_bytes, progress.total_bytes) == (1_470_000_000, 4_000_000_000)
    assert progress.text == "downloading weights 37 %"


def test_a_download_of_several_files_counts_files_not_bytes() -> None:
    progress = advance(StartProgress(), "Fetching 5 files:  40%|████      | 2/5 [00:10<00:15,  5.1s/it]")
    assert (progress.phase, progress.percent, progress.done_bytes) == (Phase.DOWNLOADING, 40, None)


def test_loading_shows_shards() -> None:
    progress = progress_of(GPU_0_11[:4])
    assert progress.text == "loading weights 40 % (2 of 5)"
    assert progress.shards == (2, 5)


def test_capturing_shows_percent() -> None:
    progress = progress_of(GPU_0_11[:10])
    assert progress.phase is Phase.CAPTURING
    assert progress.percent == 51
    assert progress.text == "capturing graphs 51 % (394,704 tokens of KV cache)"


@pytest.mark.parametrize("line", ["", "INFO: 127.0.0.1 - GET /health", "Loading", "|" * 5000, "%|", "\x00"])
def test_other_lines_change_nothing(line: str) -> None:
    assert advance(StartProgress(), line) == StartProgress()


@given(st.lists(st.one_of(st.sampled_from(CPU_0_32 + GPU_0_11 + OLD_0_6), st.text(max_size=80)), max_size=40))
def test_phases_never_go_back_and_percentages_stay_within_bounds(lines: list[str]) -> None:
    progress = StartProgress()
    for line in lines:
        after = advance(progress, line)
        assert after.phase >= progress.phase
        assert after.percent is None or 0 <= after.percent <= 100
        assert after.text
        progress = after
