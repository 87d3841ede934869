"""How far an engine has come in starting, read from its log.

`advance` folds one line at a time, so a caller keeps one small value per engine and never reads a log twice. Phases
only move forward: a line that belongs to an earlier phase changes nothing, because vLLM's processes write at once and
a second model (a draft) may load late. The wordings are those of vLLM 0.6 to 0.32; what is not recognised leaves the
progress as it is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final


class Phase(IntEnum):
    """Phases of a start, in order."""

    LAUNCHING = 0
    DOWNLOADING = 1
    LOADING = 2
    COMPILING = 3
    CACHE = 4
    """The KV cache is sized and allocated."""
    CAPTURING = 5
    """CUDA graphs are captured."""
    SERVING = 6

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS: Final = {
    Phase.LAUNCHING: "starting vLLM",
    Phase.DOWNLOADING: "downloading weights",
    Phase.LOADING: "loading weights",
    Phase.COMPILING: "compiling",
    Phase.CACHE: "allocating the KV cache",
    Phase.CAPTURING: "capturing graphs",
    Phase.SERVING: "serving",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StartProgress:
    """What the log has told. `None`: not told."""

    phase: Phase = Phase.LAUNCHING
    percent: float | None = None
    """Of the present phase, 0 to 100."""
    done_bytes: int | None = None
    """Downloaded, of the file at hand."""
    total_bytes: int | None = None
    shards: tuple[int, int] | None = None
    """Weight files loaded, and all of them."""
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    """Sequences of full context length that the KV cache holds."""

    @property
    def text(self) -> str:
        """One line for people, for example `loading weights 50 % (2 of 4)`."""
        parts = [self.phase.label]
        if self.percent is not None:
            parts.append(f"{self.percent:.0f} %")
        if self.phase is Phase.LOADING and self.shards:
            parts.append(f"({self.shards[0]} of {self.shards[1]})")
        if self.phase >= Phase.CACHE and self.kv_cache_tokens is not None:
            parts.append(f"({self.kv_cache_tokens:,} tokens of KV cache)")
        return " ".join(parts)


_MAX_LINE: Final = 4000
_UNITS: Final = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

_SIZE = r"(?P<done>[\d.]+)(?P<done_unit>[kKMGT]?)i?B?/(?P<total>[\d.]+)(?P<total_unit>[kKMGT]?)i?B?"
_DOWNLOAD = re.compile(
    rf"(?:safetensors|\.bin|\.pt|\.gguf|weights|Downloading[^:]*|Fetching \d+ files)\S*: +(?P<percent>\d+)%\|"
    rf"[^|]*\| *(?:{_SIZE})?"
)
_DOWNLOAD_BEGIN = re.compile(
    r"Downloading (?:the )?(?:model|weights|shards|checkpoint)|Start downloading", re.IGNORECASE
)
_SHARDS = re.compile(
    r"(?:Loading|loading) [^:|]*(?:shards|Model Streamer|loader)[^:|]*: +(?P<percent>\d+)% "
    r"(?:Completed )?\|[^|]*?(?P<done>\d+)/(?P<total>\d+)"
)
_LOAD_BEGIN = re.compile(r"Loading model weights|Loading weights (?:from|on)", re.IGNORECASE)
"""Not `Starting to load model`: that stands before the download."""
_LOAD_END = re.compile(r"Loading weights took|Model loading took|Loading model weights took")
_COMPILE = re.compile(
    r"for vLLM's torch\.compile|Dynamo bytecode transform|Compiling a graph|compiled graph|Warming up model for"
    r"|Start compiling|torch\.compile takes"
)
_CACHE = re.compile(
    r"Available KV cache memory|(?:GPU|CPU|XPU|HPU|TPU)(?: \+ host)? KV cache size|# (?:GPU|CPU|cuda|cpu) blocks"
    r"|GiB\)? for KV cache"
)
_CACHE_TOKENS = re.compile(r"KV cache size: (?P<tokens>[\d,]+) tokens")
_CONCURRENCY = re.compile(r"Maximum concurrency for [\d,]+ tokens per request: (?P<times>[\d.]+)x")
_CAPTURE = re.compile(
    r"Capturing [^:|]*graph[^:|]*:? +(?P<percent>\d+)%\|[^|]*\| *(?P<done>\d+)/(?P<total>\d+)", re.IGNORECASE
)
_CAPTURE_BEGIN = re.compile(r"Capturing (?:the model for )?(?:CUDA|HIP|cuda)|Graph capturing finished", re.IGNORECASE)
_SERVING = re.compile(
    r"Application startup complete|Starting vLLM (?:API )?server|Uvicorn running on|Available routes are"
)

_TABLE: Final = (
    (Phase.SERVING, _SERVING),
    (Phase.CAPTURING, _CAPTURE),
    (Phase.CAPTURING, _CAPTURE_BEGIN),
    (Phase.CACHE, _CACHE),
    (Phase.LOADING, _SHARDS),
    (Phase.LOADING, _LOAD_END),
    (Phase.COMPILING, _COMPILE),
    (Phase.DOWNLOADING, _DOWNLOAD),
    (Phase.DOWNLOADING, _DOWNLOAD_BEGIN),
    (Phase.LOADING, _LOAD_BEGIN),
)


def advance(progress: StartProgress, line: str) -> StartProgress:
    """Return the progress after one more line of the engine's log (a progress bar's updates count as lines)."""
    line = line[-_MAX_LINE:]
    if " WARNING " in line:
        return progress
    progress = _facts(progress, line)
    read = _read(line)
    if read is None or read.phase < progress.phase:
        return progress
    if read.phase == progress.phase and read.percent is None:
        return progress
    return replace(
        progress,
        phase=read.phase,
        percent=read.percent,
        done_bytes=read.done_bytes,
        total_bytes=read.total_bytes,
        shards=read.shards or progress.shards,
    )


def progress_of(lines: Iterable[str]) -> StartProgress:
    """Return the progress after `lines`, oldest first."""
    progress = StartProgress()
    for line in lines:
        progress = advance(progress, line)
    return progress


def _facts(progress: StartProgress, line: str) -> StartProgress:
    if "oncurrency" in line or "KV cache size" in line:
        if match := _CACHE_TOKENS.search(line):
            progress = replace(progress, kv_cache_tokens=int(match["tokens"].replace(",", "")))
        if match := _CONCURRENCY.search(line):
            progress = replace(progress, max_concurrency=float(match["times"]))
    return progress


def _read(line: str) -> StartProgress | None:
    """Return what one line says of a phase, `None` when it says nothing. Later phases are asked first."""
    found = next(((phase, pattern, m) for phase, pattern in _TABLE if (m := pattern.search(line))), None)
    if found is None:
        return None
    phase, pattern, match = found
    groups = match.groupdict()
    percent = float(groups["percent"]) if groups.get("percent") else None
    if pattern is _LOAD_END or (phase is Phase.CAPTURING and "finished" in match[0]):
        percent = 100.0
    return StartProgress(
        phase=phase,
        percent=percent,
        done_bytes=_bytes(groups.get("done"), groups.get("done_unit")),
        total_bytes=_bytes(groups.get("total"), groups.get("total_unit")),
        shards=(int(groups["done"]), int(groups["total"])) if pattern is _SHARDS else None,
    )


def _bytes(number: str | None, unit: str | None) -> int | None:
    """Sizes of progress bars, which count in powers of 1000. Bars over files have no unit; those are not bytes."""
    if not number or not unit:
        return None
    try:
        return int(float(number) * _UNITS[unit])
    except ValueError:
        return None
