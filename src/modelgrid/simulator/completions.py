"""`/v1/completions`."""

from typing import TYPE_CHECKING

import msgspec

from modelgrid.simulator.answers import DONE, Answer, StreamOptions, text_json, usage_wanted
from modelgrid.simulator.chat import text_or_null
from modelgrid.simulator.engine import Generation, Sequence
from modelgrid.simulator.errors import ApiError, decode
from modelgrid.simulator.sampling import plan
from modelgrid.simulator.text import token_bytes

if TYPE_CHECKING:
    from modelgrid.simulator.http import Connection, Request
    from modelgrid.simulator.server import Server

_DEFAULT_MAX_TOKENS = 16
"""OpenAI's and vLLM's default for this endpoint."""

Prompt = str | list[str | int | list[int]]


class CompletionRequest(msgspec.Struct, frozen=True):
    prompt: Prompt
    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = _DEFAULT_MAX_TOKENS
    min_tokens: int = 0
    ignore_eos: bool = False
    echo: bool | None = False
    stop: str | list[str] | None = None


_decoder = msgspec.json.Decoder(CompletionRequest)


def prompts_of(prompt: Prompt) -> tuple[bytes, ...]:
    """Return each prompt in `prompt`: a text, a list of texts, one list of token ids, or a list of such lists."""
    if isinstance(prompt, str):
        return (prompt.encode(),)
    numbers = [item for item in prompt if isinstance(item, int)]
    if not prompt or (numbers and len(numbers) != len(prompt)):
        raise ApiError("You must pass at least one prompt")
    if numbers:
        return (_ids_as_prompt(numbers),)
    return tuple(
        _ids_as_prompt(item) if isinstance(item, list) else item.encode()
        for item in prompt
        if not isinstance(item, int)
    )


def _ids_as_prompt(ids: list[int]) -> bytes:
    # Four bytes per id keep the count; ids of our own tokenizer give back their text.
    return b"".join(token_bytes([number]).rjust(4, b" ")[-4:] for number in ids)


def handle(server: "Server", request: "Request", connection: "Connection") -> None:
    completion = decode(_decoder, request.body)
    server.check_model(completion.model)
    prompts = prompts_of(completion.prompt)
    sequences: list[Sequence] = []
    for prompt in prompts:
        planned = plan(
            server.settings,
            prompt,
            choices=completion.n,
            max_tokens=completion.max_tokens,
            min_tokens=completion.min_tokens,
            ignore_eos=completion.ignore_eos,
            stop=completion.stop,
        )
        sequences += planned
    echoes = [prompt.decode("utf-8", "replace") if completion.echo else "" for prompt in prompts]
    sink: CompletionStream | CompletionWhole
    if completion.stream:
        sink = CompletionStream(server, connection, request, echoes, completion.stream_options)
    else:
        sink = CompletionWhole(server, connection, request, echoes)
    server.generate(
        connection,
        Generation(
            prompts=prompts,
            sequences=sequences,
            sink=sink,
            stream=bool(completion.stream),
            max_tokens=completion.max_tokens or 0,
        ),
    )


class CompletionWhole(Answer):
    prefix = "cmpl-"

    def __init__(self, server: "Server", connection: "Connection", request: "Request", echoes: list[str]) -> None:
        super().__init__(server, connection, request)
        self._echoes = echoes

    def finished(self, generation: Generation) -> None:
        each = len(generation.sequences) // len(self._echoes)
        choices = ",".join(
            f'{{"index":{index},"text":{text_json(self._echoes[index // each] + "".join(sequence.pieces))},'
            f'"logprobs":null,"finish_reason":"{sequence.finish_reason}",'
            f'"stop_reason":{text_or_null(sequence.stop_reason)},"token_ids":null,"prompt_logprobs":null,'
            '"prompt_token_ids":null,"routed_experts":null}'
            for index, sequence in enumerate(generation.sequences)
        )
        server = self.server
        self.connection.respond(
            200,
            (
                f'{{"id":{text_json(self.id)},"object":"text_completion","created":{self.created},'
                f'"model":{server.model_json},"choices":[{choices}],"service_tier":null,'
                f'"system_fingerprint":{server.fingerprint_json},'
                f'"usage":{self.usage(generation, generation.output_tokens)},"kv_transfer_params":null,'
                '"ec_transfer_params":null,"metrics":null}'
            ).encode(),
        )


class CompletionStream(Answer):
    prefix = "cmpl-"

    def __init__(
        self,
        server: "Server",
        connection: "Connection",
        request: "Request",
        echoes: list[str],
        options: StreamOptions | None,
    ) -> None:
        super().__init__(server, connection, request)
        self._echoes = echoes
        self._usage, self._continuous = usage_wanted(options, force=server.settings.force_include_usage)
        self._head = (
            f'data: {{"id":{text_json(self.id)},"object":"text_completion","created":{self.created},'
            f'"model":{server.model_json},"choices":['
        )

    def tokens(self, generation: Generation, first: int, last: int) -> None:
        each = len(generation.sequences) // len(self._echoes)
        events: list[bytes] = []
        for step in range(first, last):
            for index, sequence in enumerate(generation.sequences):
                if step >= len(sequence.pieces):
                    continue
                ends = step + 1 == len(sequence.pieces)
                text = sequence.pieces[step] if step else self._echoes[index // each] + sequence.pieces[0]
                reason = text_or_null(sequence.finish_reason if ends else None)
                rest = ""
                if ends and not self._usage:
                    rest = f',"system_fingerprint":{self.server.fingerprint_json}'
                if self._continuous:
                    rest += f',"usage":{self.short_usage(generation, step + 1)}'
                events.append(
                    f'{self._head}{{"index":{index},"text":{text_json(text)},"logprobs":null,"finish_reason":{reason},'
                    f'"stop_reason":{text_or_null(sequence.stop_reason if ends else None)},"prompt_token_ids":null,'
                    f'"token_ids":null}}]{rest}}}\n\n'.encode()
                )
        self.connection.send_events(events)

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
