"""`/tokenize` and `/detokenize`. Four bytes are one token, and a token id holds its bytes."""

from typing import TYPE_CHECKING

import msgspec

from modelgrid.simulator.chat import Message, render
from modelgrid.simulator.errors import ApiError, decode
from modelgrid.simulator.text import token_bytes, token_ids

if TYPE_CHECKING:
    from modelgrid.simulator.http import Connection, Request
    from modelgrid.simulator.server import Server


class TokenizeRequest(msgspec.Struct, frozen=True):
    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    return_token_strs: bool | None = False


class DetokenizeRequest(msgspec.Struct, frozen=True):
    tokens: list[int]
    model: str | None = None


_tokenize_decoder = msgspec.json.Decoder(TokenizeRequest)
_detokenize_decoder = msgspec.json.Decoder(DetokenizeRequest)


def tokenize(server: "Server", request: "Request", connection: "Connection") -> None:
    asked = decode(_tokenize_decoder, request.body)
    server.check_model(asked.model)
    if asked.prompt is None and asked.messages is None:
        raise ApiError("Either prompt or messages must be provided.", kind="Bad Request", param="body.prompt")
    ids = token_ids(render(asked.messages) if asked.messages is not None else (asked.prompt or "").encode())
    strings = [token_bytes([number]).decode("utf-8", "replace") for number in ids] if asked.return_token_strs else None
    connection.respond(
        200,
        msgspec.json.encode(
            {
                "count": len(ids),
                "max_model_len": server.settings.context,
                "tokens": ids,
                "token_strs": strings,
            }
        ),
    )


def detokenize(server: "Server", request: "Request", connection: "Connection") -> None:
    asked = decode(_detokenize_decoder, request.body)
    server.check_model(asked.model)
    connection.respond(200, msgspec.json.encode({"prompt": token_bytes(asked.tokens).decode("utf-8", "replace")}))
