"""`/v1/responses`, without stored responses: vLLM keeps none unless told to."""

from typing import TYPE_CHECKING, Any

import msgspec

from modelgrid.simulator.answers import Answer
from modelgrid.simulator.chat import Message, Part, render
from modelgrid.simulator.engine import Generation
from modelgrid.simulator.errors import ApiError, decode
from modelgrid.simulator.sampling import plan

if TYPE_CHECKING:
    from modelgrid.simulator.http import Connection, Request
    from modelgrid.simulator.server import Server

Json = dict[str, Any]


class Item(msgspec.Struct, frozen=True):
    """An input item. Items that are not messages (calls, their outputs) have no role."""

    role: str = "tool"
    content: str | list[Part] | None = None


class ResponsesRequest(msgspec.Struct, frozen=True):
    input: str | list[Item]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: Json | None = None
    parallel_tool_calls: bool | None = True
    previous_response_id: str | None = None
    stream: bool | None = False
    temperature: float | None = None
    top_p: float | None = None


_decoder = msgspec.json.Decoder(ResponsesRequest)


def handle(server: "Server", request: "Request", connection: "Connection") -> None:
    asked = decode(_decoder, request.body)
    server.check_model(asked.model)
    if asked.previous_response_id is not None:
        raise not_found(asked.previous_response_id)
    messages = [Message(role="system", content=asked.instructions)] if asked.instructions else []
    if isinstance(asked.input, str):
        messages.append(Message(role="user", content=asked.input))
    else:
        messages += [Message(role=item.role, content=item.content) for item in asked.input]
    prompt = render(messages)
    sequences = plan(server.settings, prompt, max_tokens=asked.max_output_tokens)
    sink = (ResponseStream if asked.stream else ResponseWhole)(server, connection, request)
    sink.asked = asked
    server.generate(
        connection,
        Generation(
            prompts=(prompt,),
            sequences=sequences,
            sink=sink,
            stream=bool(asked.stream),
            max_tokens=asked.max_output_tokens or 0,
        ),
    )


def not_found(response_id: str) -> ApiError:
    return ApiError(
        f"Response with id '{response_id}' not found.", status=404, kind="invalid_request_error", param="response_id"
    )


class _ResponseAnswer(Answer):
    prefix = "resp_"
    asked: ResponsesRequest

    def response(self, generation: Generation, status: str) -> Json:
        """Return the response object; `in_progress` has neither output nor usage."""
        asked, settings = self.asked, self.server.settings
        done = status != "in_progress"
        output: list[Json] = []
        usage: Json | None = None
        if done:
            output = [self.message("".join(generation.sequences[0].pieces), "completed")]
            usage = {
                "input_tokens": generation.prompt_tokens,
                "input_tokens_details": {
                    "cached_tokens": generation.cached_tokens,
                    "cache_write_tokens": 0,
                    "input_tokens_per_turn": [],
                    "cached_tokens_per_turn": [],
                },
                "output_tokens": generation.output_tokens,
                "output_tokens_details": {
                    "reasoning_tokens": 0,
                    "tool_output_tokens": 0,
                    "output_tokens_per_turn": [],
                    "tool_output_tokens_per_turn": [],
                },
                "total_tokens": generation.prompt_tokens + generation.output_tokens,
            }
        room = settings.context - generation.prompt_tokens
        return {
            "id": self.id,
            "created_at": self.created,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": asked.instructions,
            "metadata": asked.metadata,
            "model": settings.served_names[0],
            "object": "response",
            "output": output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "background": False,
            "max_output_tokens": room if asked.max_output_tokens is None else min(room, asked.max_output_tokens),
            "max_tool_calls": None,
            "previous_response_id": None,
            "prompt": None,
            "reasoning": None,
            "service_tier": "auto",
            "status": status,
            "text": None,
            "top_logprobs": None,
            "truncation": "disabled",
            "usage": usage,
            "user": None,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
        }

    def message(self, text: str, status: str) -> Json:
        content = [self.part(text)] if text else []
        return {
            "id": f"msg_{self.id.removeprefix(self.prefix)}",
            "content": content,
            "role": "assistant",
            "status": status,
            "type": "message",
            "phase": None,
        }

    @staticmethod
    def part(text: str) -> Json:
        return {"annotations": [], "text": text, "type": "output_text", "logprobs": None if text else []}

    def status(self, generation: Generation) -> str:
        return "incomplete" if generation.sequences[0].finish_reason == "length" else "completed"


class ResponseWhole(_ResponseAnswer):
    def finished(self, generation: Generation) -> None:
        self.connection.respond(200, msgspec.json.encode(self.response(generation, self.status(generation))))


class ResponseStream(_ResponseAnswer):
    _number = 0

    def tokens(self, generation: Generation, first: int, last: int) -> None:
        events: list[bytes] = []
        if first == 0:
            begun = self.response(generation, "in_progress")
            events += [
                self._event("response.created", response=begun),
                self._event("response.in_progress", response=begun),
                self._event("response.output_item.added", output_index=0, item=self.message("", "in_progress")),
                self._event("response.content_part.added", **self._place(), part=self.part("")),
            ]
        events.extend(
            self._event("response.output_text.delta", **self._place(), delta=piece, logprobs=[])
            for piece in generation.sequences[0].pieces[first:last]
        )
        self.connection.send_events(events)

    def finished(self, generation: Generation) -> None:
        text = "".join(generation.sequences[0].pieces)
        final = self.response(generation, self.status(generation))
        self.connection.send_events(
            [
                self._event("response.output_text.done", **self._place(), text=text, logprobs=[]),
                self._event("response.content_part.done", **self._place(), part=self.part(text)),
                self._event("response.output_item.done", output_index=0, item=self.message(text, "completed")),
                self._event("response.completed", response=final),
            ]
        )
        self.connection.end_stream()

    def error_events(self, error: ApiError) -> list[bytes]:
        return [self._event("error", code=str(error.status), message=error.message, param=None)]

    def _place(self) -> Json:
        return {"item_id": f"msg_{self.id.removeprefix(self.prefix)}", "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        # vLLM's events have their fields in alphabetical order.
        event = dict(sorted({**fields, "sequence_number": self._number, "type": kind}.items()))
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(event))
