"""What the answers of all APIs share: ids, usage, and the sinks that they extend."""

import time
from typing import TYPE_CHECKING

import msgspec

from modelgrid.simulator import log
from modelgrid.simulator.engine import Generation
from modelgrid.simulator.errors import ApiError

if TYPE_CHECKING:
    from modelgrid.simulator.http import Connection, Request
    from modelgrid.simulator.server import Server

DONE = b"data: [DONE]\n\n"


def text_json(text: str) -> str:
    """Return `text` as a JSON string literal."""
    return msgspec.json.encode(text).decode()


class Answer:
    """Base of the sinks: one answer to one request, and what its JSON is made of."""

    prefix = ""
    """Of the answer's id, for example `chatcmpl-`."""

    def __init__(self, server: "Server", connection: "Connection", request: "Request") -> None:
        self.server = server
        self.connection = connection
        self.id = f"{self.prefix}{request.request_id or server.new_id()}"
        self.created = int(time.time())
        if server.settings.log_requests:
            log.info("logger.py:40", f"Received request {self.id}: params: (simulated), lora_request: None.")

    def usage(self, generation: Generation, completion_tokens: int) -> str:
        """Return OpenAI's usage object as JSON, with nulls as in a whole answer of vLLM."""
        prompt = generation.prompt_tokens
        details = f'{{"cached_tokens":{generation.cached_tokens},"created_cache_tokens":null,"multimodal_tokens":null}}'
        return (
            f'{{"prompt_tokens":{prompt},"total_tokens":{prompt + completion_tokens},'
            f'"completion_tokens":{completion_tokens},'
            f'"prompt_tokens_details":{details if self.server.settings.prompt_tokens_details else "null"},'
            '"completion_tokens_details":null}'
        )

    def short_usage(self, generation: Generation, completion_tokens: int, *, details: bool = False) -> str:
        """Return the usage object as vLLM puts it into a stream: without nulls."""
        prompt = generation.prompt_tokens
        cached = ""
        if details and self.server.settings.prompt_tokens_details:
            cached = f',"prompt_tokens_details":{{"cached_tokens":{generation.cached_tokens}}}'
        return (
            f'{{"prompt_tokens":{prompt},"total_tokens":{prompt + completion_tokens},'
            f'"completion_tokens":{completion_tokens}{cached}}}'
        )

    def tokens(self, generation: Generation, first: int, last: int) -> None:
        """Whole answers send nothing before their end."""

    def finished(self, generation: Generation) -> None:
        raise NotImplementedError

    def broken(self, generation: Generation, message: str) -> None:
        """End a stream in the middle: with an error event, or by closing the connection when `message` is empty."""
        if not message:
            self.connection.drop()
            return
        self.connection.send_events(self.error_events(ApiError(message, status=500, kind="InternalServerError")))
        self.connection.end_stream()

    def error_events(self, error: ApiError) -> list[bytes]:
        return [b"data: " + error.openai() + b"\n\n", DONE]


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


def usage_wanted(options: StreamOptions | None, *, force: bool) -> tuple[bool, bool]:
    """Return whether a stream ends with a usage chunk, and whether each chunk carries usage."""
    wanted = force or bool(options and options.include_usage)
    return wanted, wanted and bool(options and options.continuous_usage_stats)
