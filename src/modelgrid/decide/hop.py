"""What becomes of a request that the gateway of another node answered with an error of its own.

The code of the error says whether an engine there may have begun to work on it. Only where none has, it is given to
another replica; anything that is not known here goes to the client as it came.
"""

from enum import Enum


class Step(Enum):
    RELAY = "relay"
    """It is the client's answer: about the request itself, or an engine has had it."""
    ANOTHER = "another"
    """No engine there has a place: another replica, and nothing is held against this one."""
    ELSEWHERE = "elsewhere"
    """That gateway cannot serve it, whoever asks: another replica, as when there is no connection."""


_STEPS = {
    "queue_full": Step.ANOTHER,
    "overloaded": Step.ANOTHER,
    "invalid_api_key": Step.ELSEWHERE,
    "starting": Step.ELSEWHERE,
    "model_not_found": Step.ELSEWHERE,
    "model_not_running": Step.ELSEWHERE,
    "model_removed": Step.ELSEWHERE,
    "model_unreachable": Step.ELSEWHERE,
}


def after_refusal(code: str, *, alternative: bool) -> Step:
    """Return what is done with a request that a peer's gateway refused with `code`. `alternative`: some other replica
    would take it now; without one, the answer of a gateway that has no place is the client's."""
    step = _STEPS.get(code, Step.RELAY)
    return Step.RELAY if step is Step.ANOTHER and not alternative else step
