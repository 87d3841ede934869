"""`/v1/chat/completions`."""

from typing import TYPE_CHECKING

import msgspec

from modelgrid.simulator.answers import DONE, Answer, StreamOptions, text_json, usage_wanted
from modelgrid.simulator.engine import Generation
from modelgrid.simulator.errors import decode
from modelgrid.simulator.sampling import plan

if TYPE_CHECKING:
    from modelgrid.simulator.http import Connection, Request
    from modelgrid.simulator.server import Server


class Part(msgspec.Struct, frozen=True):
    """A content part; parts that are not text have none."""

    type: str = "text"
    text: str | None = None


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[Part] | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    messages: list[Message]
    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: str | list[str] | None = None


_decoder = msgspec.json.Decoder(ChatRequest)


def render(messages: list[Message]) -> bytes:
    """Return the prompt that a chat template would make: what is counted, cached and answered."""
    lines: list[str] = []
    for message in messages:
        content = message.content
        if isinstance(content, list):
            content = "\n".join(part.text if part.text is not None else f"<{part.type}>" for part in content)
        lines.append(f"{message.role}:{content or ''}\n")
    return "".join(lines).encode()


def handle(server: "Server", request: "Request", connection: "Connection") -> None:
    chat = decode(_decoder, request.body)
    server.check_model(chat.model)
    prompt = render(chat.messages)
    max_tokens = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    sequences = plan(
        server.settings,
        prompt,
        choices=chat.n,
        max_tokens=max_tokens,
        min_tokens=chat.min_tokens,
        ignore_eos=chat.ignore_eos,
        stop=chat.stop,
    )
    sink: ChatStream | ChatWhole
    if chat.stream:
        sink = ChatStream(server, connection, request, chat.stream_options)
    else:
        sink = ChatWhole(server, connection, request)
    server.generate(
        connection,
        Generation(
            prompts=(prompt,),
            sequences=sequences,
            sink=sink,
            stream=bool(chat.stream),
            max_tokens=max_tokens or 0,
        ),
    )


class ChatWhole(Answer):
    prefix = "chatcmpl-"

    def finished(self, generation: Generation) -> None:
        choices = ",".join(
            f'{{"index":{index},"message":{{"role":"assistant","content":"{"".join(sequence.pieces)}","refusal":null,'
            '"annotations":null,"audio":null,"function_call":null,"reasoning":null},"logprobs":null,'
            f'"finish_reason":"{sequence.finish_reason}","stop_reason":{text_or_null(sequence.stop_reason)},'
            '"token_ids":null,"routed_experts":null}'
            for index, sequence in enumerate(generation.sequences)
        )
        server = self.server
        self.connection.respond(
            200,
            (
                f'{{"id":{text_json(self.id)},"object":"chat.completion","created":{self.created},'
                f'"model":{server.model_json},"choices":[{choices}],"service_tier":null,'
                f'"system_fingerprint":{server.fingerprint_json},'
                f'"usage":{self.usage(generation, generation.output_tokens)},"prompt_logprobs":null,'
                '"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,'
                '"metrics":null}'
            ).encode(),
        )


class ChatStream(Answer):
    prefix = "chatcmpl-"

    def __init__(
        self, server: "Server", connection: "Connection", request: "Request", options: StreamOptions | None
    ) -> None:
        super().__init__(server, connection, request)
        self._usage, self._continuous = usage_wanted(options, force=server.settings.force_include_usage)
        self._head = (
            f'data: {{"id":{text_json(self.id)},"object":"chat.completion.chunk","created":{self.created},'
            f'"model":{server.model_json},"choices":['
        )

    def tokens(self, generation: Generation, first: int, last: int) -> None:
        head = self._head
        events: list[bytes] = []
        if first == 0:
            usage = f',"usage":{self._running_usage(generation, 0)}' if self._continuous else ""
            events.extend(
                f'{head}{{"index":{index},"delta":{{"role":"assistant","content":""}},"logprobs":null,'
                f'"finish_reason":null}}]{usage},"prompt_token_ids":null,"prompt_text":null}}\n\n'.encode()
                for index in range(len(generation.sequences))
            )
        for step in range(first, last):
            for index, sequence in enumerate(generation.sequences):
                if step >= len(sequence.pieces):
                    continue
                end = '"finish_reason":null,"token_ids":null}]'
                if step + 1 == len(sequence.pieces):
                    end = (
                        f'"finish_reason":"{sequence.finish_reason}",'
                        f'"stop_reason":{text_or_null(sequence.stop_reason)},"token_ids":null}}]'
                    )
                    if not self._usage:
                        end += f',"system_fingerprint":{self.server.fingerprint_json}'
                if self._continuous:
                    end += f',"usage":{self._running_usage(generation, step + 1)}'
                events.append(
                    f'{head}{{"index":{index},"delta":{{"content":"{sequence.pieces[step]}"}},"logprobs":null,{end}}}'
                    "\n\n".encode()
                )
        self.connection.send_events(events)

    def _running_usage(self, generation: Generation, completion_tokens: int) -> str:
        return self.short_usage(generation, completion_tokens)[:-1] + ',"completion_tokens_details":null}'

    def finished(self, generation: Generation) -> None:
        events: list[bytes] = []
        if self._usage:
            usage = self.short_usage(generation, generation.output_tokens, details=True)
            events.append(
                f'{self._head}],"usage":{usage},"system_fingerprint":{self.server.fingerprint_json}}}\n\n'.encode()
            )
        events.append(DONE)
        self.connection.send_events(events)
        self.connection.end_stream()


def text_or_null(text: str | None) -> str:
    return "null" if text is None else text_json(text)
