"""The few fields the gateway reads from bodies. Bodies themselves pass as the bytes that came."""

import re

import msgspec

from modelgrid.gateway.shapes import Fields, decode_fields

MODEL_FIELD_LIMIT = 512
"""Bytes of a model name in a form field; the longest name on the Hugging Face Hub has 96 + 1 + 96."""


class BadBody(Exception):
    """The body does not say which model it is for. The text says why, for the client."""


_NULL = msgspec.Raw(b"null")
_MOST_DIGITS = 15
"""Of a number of tokens: more is none that an engine takes."""

_BOUNDARY = re.compile(rb'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_FIELD_NAME = re.compile(rb';\s*name=(?:"([^"]*)"|([^\s;]+))', re.IGNORECASE)


def fields_of(body: bytes, content_type: bytes) -> Fields:
    """Return what is read of a body (JSON, or the model alone of a multipart form). Raises BadBody without a model."""
    if content_type[:19].lower() == b"multipart/form-data":
        return Fields(_model_of_form(body, content_type))
    try:
        fields = decode_fields(body)
    except msgspec.ValidationError as error:
        raise BadBody(f"the request body is not what was expected: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:  # msgspec lets the last one through
        raise BadBody(f"the request body is not valid JSON: {error}") from error
    if not fields.model:
        raise BadBody("the request body names no model; set the field 'model'")
    return fields


def answer_tokens(fields: Fields) -> int:
    """Return how long an answer may get; 0 where the body does not say."""
    told = fields.max_completion_tokens or fields.max_tokens or fields.max_output_tokens
    if told == _NULL:
        told = fields.max_tokens or fields.max_output_tokens
    digits = bytes(told)
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else 0


def model_of(body: bytes, content_type: bytes) -> str:
    """Return the name in the body's `model` field. Raises BadBody."""
    return fields_of(body, content_type).model or ""


def _model_of_form(body: bytes, content_type: bytes) -> str:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadBody("the multipart form has no boundary in its Content-Type")
    delimiter = b"--" + (found[1] or found[2])
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter)
    while at >= 0:
        head_end = body.find(b"\r\n\r\n", at)
        next_part = body.find(b"\r\n" + delimiter, at + len(delimiter))
        if head_end < 0 or next_part < 0:
            break
        if head_end < next_part and _field_name(body[at:head_end]) == b"model":
            value = body[head_end + 4 : next_part]
            if not value or len(value) > MODEL_FIELD_LIMIT:
                raise BadBody(f"the form field 'model' is {'too long' if value else 'empty'}")
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise BadBody("the form field 'model' is not UTF-8") from error
        at = next_part
    raise BadBody("the multipart form has no field 'model'")


def _field_name(part_head: bytes) -> bytes | None:
    for line in part_head.split(b"\r\n"):
        if line[:20].lower() == b"content-disposition:":
            found = _FIELD_NAME.search(line)
            return (found[1] if found[1] is not None else found[2]) if found else None
    return None
