"""What of JSON bodies is decoded, as msgspec sees it. Apart from their users because it is never compiled
(`modelgrid.gateway.compiled`): msgspec reads the annotations, and a compiler leaves none.
"""

import msgspec

NOTHING = msgspec.Raw(b"")
"""A field that is missing."""


class Fields(msgspec.Struct):
    """What is read of a request's body. `Raw`: the bytes as they came, empty when the field is missing."""

    model: str | None = None
    stream: msgspec.Raw = NOTHING
    stream_options: msgspec.Raw = NOTHING
    messages: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING
    input: msgspec.Raw = NOTHING
    system: msgspec.Raw = NOTHING
    """Of Anthropic's API; stands before the messages."""
    instructions: msgspec.Raw = NOTHING
    """Of the Responses API; stands before the input."""
    cache_salt: msgspec.Raw = NOTHING
    """Of vLLM: requests share its prefix cache only when they have the same."""
    max_completion_tokens: msgspec.Raw = NOTHING
    max_tokens: msgspec.Raw = NOTHING
    max_output_tokens: msgspec.Raw = NOTHING
    """Of the Responses API."""


class Options(msgspec.Struct):
    """`stream_options` of a request."""

    include_usage: msgspec.Raw = NOTHING
    continuous_usage_stats: msgspec.Raw = NOTHING


class Usage(msgspec.Struct):
    """`usage` of an answer, in the names of all APIs."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


class Chunk(msgspec.Struct):
    """One event of a stream."""

    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = NOTHING


UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What these raise: msgspec lets the last two through."""

decode_fields = msgspec.json.Decoder(Fields).decode
decode_options = msgspec.json.Decoder(Options).decode
decode_usage = msgspec.json.Decoder(Usage).decode
decode_chunk = msgspec.json.Decoder(Chunk).decode
