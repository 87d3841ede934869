"""How long an answer gets, and why it ends."""

from modelgrid.simulator.engine import Sequence
from modelgrid.simulator.errors import ApiError
from modelgrid.simulator.settings import EngineSettings
from modelgrid.simulator.text import answer, count_tokens, seed_of

_MAX_SEQUENCES = 16_384
"""vLLM's default of VLLM_MAX_N_SEQUENCES."""


def plan(
    settings: EngineSettings,
    prompt: bytes,
    *,
    choices: int | None = 1,
    max_tokens: int | None = None,
    min_tokens: int = 0,
    ignore_eos: bool = False,
    stop: str | list[str] | None = None,
) -> list[Sequence]:
    """Return the choices that answer `prompt`. Raises `ApiError` when it does not fit the context."""
    count = 1 if choices is None else choices
    if count < 1:
        raise ApiError(f"n must be at least 1, got {count}.")
    if count > _MAX_SEQUENCES:
        raise ApiError(f"n must be at most {_MAX_SEQUENCES}, got {count}.")
    prompt_tokens = check_length(settings, prompt)
    room = settings.context - prompt_tokens
    budget = room if max_tokens is None else min(max_tokens, room)
    if budget < 1:
        raise ApiError(
            f"max_tokens must be at least 1, got {budget}. (parameter=max_tokens, value={budget})", param="max_tokens"
        )
    wanted = budget if ignore_eos else max(settings.output_tokens, min_tokens)
    reason = "length" if ignore_eos or wanted > budget else "stop"
    stops = [stop] if isinstance(stop, str) else stop or []
    sequences: list[Sequence] = []
    for index in range(count):
        pieces = answer(seed_of(prompt, index), min(wanted, budget))
        sequences.append(_cut(pieces, stops, reason) if stops else Sequence(pieces, reason))
    return sequences


def check_length(settings: EngineSettings, prompt: bytes) -> int:
    """Return the tokens of `prompt`. Raises `ApiError` with vLLM's words when they are more than the context."""
    tokens = count_tokens(prompt)
    if tokens > settings.context:
        raise ApiError(
            f"This model's maximum context length is {settings.context} tokens. However, your prompt contains "
            f"{tokens} input tokens, which exceeds this limit even without any output tokens. "
            f"Please reduce the length of the input prompt. (parameter=input_tokens, value={tokens})",
            param="input_tokens",
        )
    return tokens


def _cut(pieces: list[str], stops: list[str], reason: str) -> Sequence:
    """End at the first stop string: it is generated and counted, and not shown."""
    text = "".join(pieces)
    found = min(((at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0), default=None)
    if found is None:
        return Sequence(pieces, reason)
    at, stop = found
    shown: list[str] = []
    position = 0
    for piece in pieces:
        if position >= at + len(stop):
            break
        shown.append(piece[: max(0, at - position)])
        position += len(piece)
    return Sequence(shown, "stop", stop)
