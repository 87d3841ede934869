"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's API as vLLM serves it."""

from typing import TYPE_CHECKING

import msgspec

from modelgrid.simulator.answers import Answer, text_json
from modelgrid.simulator.chat import Message, Part, render, text_or_null
from modelgrid.simulator.engine import Generation, Sequence
from modelgrid.simulator.errors import ApiError, decode
from modelgrid.simulator.sampling import plan
from modelgrid.simulator.text import count_tokens

if TYPE_CHECKING:
    from modelgrid.simulator.http import Connection, Request
    from modelgrid.simulator.server import Server


class CountTokensRequest(msgspec.Struct, frozen=True):
    messages: list[Message]
    model: str
    system: str | list[Part] | None = None


class MessagesRequest(msgspec.Struct, frozen=True):
    messages: list[Message]
    model: str
    max_tokens: int
    system: str | list[Part] | None = None
    stream: bool | None = False
    stop_sequences: list[str] | None = None


_decoder = msgspec.json.Decoder(MessagesRequest)
_count_decoder = msgspec.json.Decoder(CountTokensRequest)


def _prompt(asked: MessagesRequest | CountTokensRequest) -> bytes:
    system = [] if asked.system is None else [Message(role="system", content=asked.system)]
    return render([*system, *asked.messages])


def count(server: "Server", request: "Request", connection: "Connection") -> None:
    asked = decode(_count_decoder, request.body)
    server.check_model(asked.model)
    tokens = count_tokens(_prompt(asked))
    body = {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}}
    connection.respond(200, msgspec.json.encode(body))


def handle(server: "Server", request: "Request", connection: "Connection") -> None:
    asked = decode(_decoder, request.body)
    server.check_model(asked.model)
    if asked.max_tokens < 1:
        raise ApiError("max_tokens must be positive", kind="Bad Request", param="body.max_tokens")
    prompt = _prompt(asked)
    sequences = plan(server.settings, prompt, max_tokens=asked.max_tokens, stop=asked.stop_sequences)
    sink = (MessageStream if asked.stream else MessageWhole)(server, connection, request)
    server.generate(
        connection,
        Generation(
            prompts=(prompt,),
            sequences=sequences,
            sink=sink,
            stream=bool(asked.stream),
            max_tokens=asked.max_tokens,
        ),
    )


def _stop(sequence: Sequence) -> tuple[str, str]:
    """Return Anthropic's stop reason, and the stop sequence as JSON."""
    if sequence.finish_reason == "length":
        return "max_tokens", "null"
    return "end_turn" if sequence.stop_reason is None else "stop_sequence", text_or_null(sequence.stop_reason)


class _MessageAnswer(Answer):
    prefix = "chatcmpl-"  # vLLM answers with the id of the chat completion below

    def message_usage(self, generation: Generation, output_tokens: int) -> str:
        cached, cache = 0, ""
        if self.server.settings.prompt_tokens_details:
            cached = generation.cached_tokens
            cache = f',"cache_read_input_tokens":{cached}'
        return f'{{"input_tokens":{generation.prompt_tokens - cached},"output_tokens":{output_tokens}{cache}}}'


class MessageWhole(_MessageAnswer):
    def finished(self, generation: Generation) -> None:
        (sequence,) = generation.sequences
        reason, stop_sequence = _stop(sequence)
        shown = f',"stop_sequence":{stop_sequence}' if stop_sequence != "null" else ""
        self.connection.respond(
            200,
            (
                f'{{"id":{text_json(self.id)},"type":"message","role":"assistant",'
                f'"content":[{{"type":"text","text":"{"".join(sequence.pieces)}"}}],"model":{self.server.model_json},'
                f'"stop_reason":"{reason}"{shown},"usage":{self.message_usage(generation, generation.output_tokens)}}}'
            ).encode(),
        )


class MessageStream(_MessageAnswer):
    def tokens(self, generation: Generation, first: int, last: int) -> None:
        events: list[bytes] = []
        if first == 0:
            events += [
                _event(
                    "message_start",
                    f'"message":{{"id":{text_json(self.id)},"type":"message","role":"assistant","content":[],'
                    f'"model":{self.server.model_json},"stop_reason":null,"stop_sequence":null,'
                    f'"usage":{self.message_usage(generation, 0)}}}',
                ),
                _event("content_block_start", '"content_block":{"type":"text","text":""},"index":0'),
            ]
        events.extend(
            _event("content_block_delta", f'"delta":{{"type":"text_delta","text":"{piece}"}},"index":0')
            for piece in generation.sequences[0].pieces[first:last]
        )
        self.connection.send_events(events)

    def finished(self, generation: Generation) -> None:
        (sequence,) = generation.sequences
        reason, stop_sequence = _stop(sequence)
        usage = self.message_usage(generation, generation.output_tokens)
        self.connection.send_events(
            [
                _event("content_block_stop", '"index":0'),
                _event(
                    "message_delta",
                    f'"delta":{{"stop_reason":"{reason}","stop_sequence":{stop_sequence}}},"usage":{usage}',
                ),
                b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
            ]
        )
        self.connection.end_stream()

    def error_events(self, error: ApiError) -> list[bytes]:
        return [_event("error", f'"error":{{"type":"internal_error","message":{text_json(error.message)}}}')]


def _event(name: str, fields: str) -> bytes:
    return f'event: {name}\ndata: {{"type":"{name}",{fields}}}\n\n'.encode()
