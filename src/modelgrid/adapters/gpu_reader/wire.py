"""Requests and replies between the daemon and a probe child: one JSON line each, over a socket pair."""

from typing import Literal

import msgspec

from modelgrid.domain.gpu import DriverReport, Gpu

MAX_LINE_BYTES = 8 * 1024 * 1024
"""Sixteen GPUs with a thousand processes each are about 2 MB."""


class Request(msgspec.Struct, frozen=True):
    """`read` asks for the GPUs, `drivers` for the report."""

    id: int
    verb: Literal["read", "drivers"]


class Failure(msgspec.Struct, frozen=True):
    """A `ModelGridError` of the probe."""

    message: str
    fix: str = ""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of `gpus`, `report` and `failure` is set."""

    id: int
    gpus: tuple[Gpu, ...] | None = None
    report: DriverReport | None = None
    failure: Failure | None = None
