"""What is told of a node that is drained, as it goes. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainNews:
    """Something to be told once."""

    kind: str
    """`moved`, or `drained` when nothing is left."""
    message: str


def drain_news(placed: int, told: int | None, left: int) -> DrainNews | None:
    """Return what is new of a drain: of `placed` deployments that the node had when it began, `left` are there now;
    `told` is how many there were when it was told of last, `None` before that. What comes back is no news."""
    if left == 0 and told != 0:
        return DrainNews(kind="drained", message=f"drained: {_all_of(placed)}")
    if left < (placed if told is None else told):
        return DrainNews(kind="moved", message=f"moved {placed - left} of {placed}")
    return None


def _all_of(placed: int) -> str:
    if not placed:
        return "nothing is placed here"
    return f"moved {placed} of {placed}, nothing is left here"
