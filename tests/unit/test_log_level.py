"""How severe lines of engines are."""

import pytest

from modelgrid.decide.log_level import level_of
from modelgrid.domain.event import Level

D, I, W, E = Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR  # noqa: E741

LINES = [
    (I, "INFO 11-23 16:50:07 [launcher.py:195] Route: /health, Methods: GET"),
    (I, '(APIServer pid=7) INFO:     127.0.0.1:59126 - "POST /v1/chat/completions HTTP/1.1" 200 OK'),
    (D, "(EngineCore_DP0 pid=12) DEBUG 11-23 16:50:07 [core.py:1] step"),
    (W, "\x1b[0;36m(EngineCore_DP0 pid=12)\x1b[0;0m WARNING 11-23 16:50:07 [config.py:9] slow tokenizer"),
    (I, "(Worker_TP1 pid=9) Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01]"),
    (W, "/usr/lib/python3/site-packages/torch/cuda.py:61: FutureWarning: The pynvml package is deprecated."),
    (W, "  import pynvml"),
    (W, "[rank0]:[W1123 16:50:07.123 ProcessGroupNCCL.cpp:1250] Warning: process group has NOT been destroyed"),
    (W, "node7:12:12 [0] NCCL WARN Call to connect failed"),
    (E, "ERROR 11-23 16:50:07 [core.py:866] EngineCore failed to start."),
    (E, "Traceback (most recent call last):"),
    (E, '  File "/usr/bin/vllm", line 8, in <module>'),
    (E, "    sys.exit(main())"),
    (E, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    (E, ""),
    (E, "The above exception was the direct cause of the following exception:"),
    (E, "RuntimeError: Engine core initialization failed."),
    (I, "Process ended"),
    (I, "  an indented line after a plain one"),
    (E, "CRITICAL: it is over"),
    (I, "INFORMATION about an Errors: page"),
    (I, "(not a speaker) INFO"),
]


def test_each_line_in_turn() -> None:
    before, found = Level.INFO, []
    for _, text in LINES:
        before = level_of(text, before)
        found.append((before, text))
    assert found == LINES


@pytest.mark.parametrize("text", ["(" * 60_000, "A" * 60_000, "[rank0]:[" * 7_000, "x.Y" * 20_000, ":1: A" * 12_000])
def test_no_line_takes_long(text: str) -> None:
    level_of(text, Level.INFO)  # what grew with the square of the length would hit the suite's timeout
