"""Figures beside their bounds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. Without a bound it explains the others."""

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def kept(self) -> bool | None:
        """Whether the value is within its bound; `None` without one."""
        if self.most is not None:
            return self.value <= self.most
        return self.value >= self.least if self.least is not None else None

    @property
    def bound(self) -> str:
        if self.most is not None:
            return f"≤ {self.most:,g}"
        return f"≥ {self.least:,g}" if self.least is not None else ""

    @property
    def verdict(self) -> str:
        return {True: "kept", False: "missed", None: ""}[self.kept]

    def line(self) -> str:
        """Return it for a terminal."""
        return f"{self.name}: {_shown(self.value)} {self.unit} {self.bound} {self.verdict.upper()}".rstrip()

    def document(self) -> dict[str, object]:
        """Return it for programs."""
        return asdict(self) | {"kept": self.kept}


def markdown(figures: Sequence[Figure]) -> str:
    """Return the table."""
    lines = ["| | measured | | bound | |", "|---|---:|---|---:|---|"]
    lines += [f"| {f.name} | {_shown(f.value)} | {f.unit} | {f.bound} | {f.verdict} |" for f in figures]
    return "\n".join(lines) + "\n"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
