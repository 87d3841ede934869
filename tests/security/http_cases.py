"""Requests that a server must not misread, with the verdict of the gateway.

The bytes follow public suites: Http11Probe (github.com/MDA2AV/Http11Probe; its ids in `source`), llhttp's own request
tests (github.com/nodejs/llhttp, test/request), and the smuggling literature. Each is sent to a path that reaches a
replica and with a valid key, so that whatever is wrongly accepted is seen there."""

from dataclasses import dataclass

from gateway_kit import KEY

AUTH = f"Authorization: Bearer {KEY}\r\n".encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: gateway\r\n"
HEAD = POST + HOST + AUTH
BODY = b'{"model":"m"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n"


@dataclass(frozen=True)
class Case:
    """One attack. `statuses`: what may be answered. `keeps`: the connection stays usable afterwards."""

    name: str
    source: str
    raw: bytes
    statuses: tuple[int, ...] = (400,)
    keeps: bool = False
    body: bytes | None = None
    """What the replica gets; None: it must get nothing."""
    alone: bool = False
    """Nothing is sent behind it: the request is not whole, and the answer comes by timeout."""
    then: tuple[int, ...] = ()
    """Answers after the first, to what else the bytes hold, before the connection is closed."""


def refused(source: str, **raws: bytes) -> list[Case]:
    """Answered 400 once, then closed."""
    return [Case(name, source, raw) for name, raw in raws.items()]


def accepted(source: str, **raws: bytes) -> list[Case]:
    """Passed on with exactly `BODY`; the next request on the connection is served."""
    return [Case(name, source, raw, (200,), keeps=True, body=BODY) for name, raw in raws.items()]


def other(source: str, statuses: tuple[int, ...], *, keeps: bool, **raws: bytes) -> list[Case]:
    """Well-formed and not for a replica."""
    return [Case(name, source, raw, statuses, keeps=keeps) for name, raw in raws.items()]


def _te(value: bytes) -> bytes:
    """A coding beside a length: whichever a server believes, the other one smuggles."""
    return HEAD + b"Transfer-Encoding: " + value + b"\r\n" + LENGTH + b"\r\n" + BODY


def _te_only(value: bytes) -> bytes:
    return HEAD + b"Transfer-Encoding: " + value + b"\r\n\r\nd\r\n" + BODY + b"\r\n" + END


def _cl(value: bytes) -> bytes:
    return HEAD + b"Content-Length: " + value + b"\r\n\r\n" + BODY


def _chunks(data: bytes) -> bytes:
    return HEAD + CHUNKED + b"\r\n" + data


def _get(line: bytes) -> bytes:
    return GET + HOST + AUTH + line + b"\r\n\r\n"


WHOLE = b"d\r\n" + BODY + b"\r\n"
"""The body as one chunk."""
PREFIX = b"GET /v1/models HTTP/1.1\r\nX-Smuggled: "

CONFLICTING_LENGTHS = [
    *refused(
        "SMUG-CL-TE-BOTH, SMUG-CLTE-PIPELINE, SMUG-TECL-PIPELINE, llhttp transfer-encoding",
        cl_te=HEAD + LENGTH + CHUNKED + b"\r\n" + END,
        cl_te_short=HEAD + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + END,
        te_cl=HEAD + CHUNKED + b"Content-Length: 30\r\n\r\n" + END,
        te_cl_prefix=HEAD + CHUNKED + b"Content-Length: 3\r\n\r\n1\r\nG\r\n" + END + PREFIX,
        cl_te_get=GET + HOST + AUTH + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n" + END + b"G",
        cl_te_close=HEAD + b"Connection: close\r\n" + LENGTH + CHUNKED + b"\r\n" + END,
        cl_te_keep_alive=HEAD + b"Connection: keep-alive\r\n" + CHUNKED + LENGTH + b"\r\n" + END,
        cl_zero_te=HEAD + b"Content-Length: 0\r\n" + CHUNKED + b"\r\n" + END,
        te_in_connection=HEAD + b"Connection: Transfer-Encoding\r\n" + CHUNKED + LENGTH + b"\r\n" + END,
    ),
    *refused(
        "SMUG-DUPLICATE-CL, SMUG-CL-COMMA-*, llhttp content-length",
        two_lengths=HEAD + b"Content-Length: 5\r\nContent-Length: 10\r\n\r\nhelloworld",
        two_equal_lengths=HEAD + LENGTH + LENGTH + b"\r\n" + BODY,
        two_lengths_apart=HEAD + b"Content-Length: 5\r\nX-A: b\r\ncontent-length: 10\r\n\r\nhelloworld",
        lengths_in_a_list=_cl(b"5, 10"),
        equal_lengths_in_a_list=_cl(b"13, 13"),
        three_equal_lengths=_cl(b"13,13,13"),
    ),
]

LENGTHS = [
    *refused(
        "SMUG-CL-*, RFC9112-6.1-CL-*, MAL-CL-*, llhttp content-length",
        negative=_cl(b"-1"),
        negative_zero=_cl(b"-0"),
        plus=_cl(b"+13"),
        letters=_cl(b"abc"),
        digits_then_letters=_cl(b"13a"),
        empty=_cl(b""),
        octal=_cl(b"0o15"),
        hexadecimal=_cl(b"0xd"),
        underscore=_cl(b"1_3"),
        inner_space=_cl(b"1 3"),
        inner_tab=_cl(b"1\t3"),
        overflow=_cl(b"99999999999999999999"),
        overflow_more=_cl(b"1000000000000000000000"),
        just_over_64_bits=_cl(b"18446744073709551616"),
        decimal=_cl(b"13.0"),
        exponent=_cl(b"1e1"),
        quoted=_cl(b'"13"'),
        unicode_digit=_cl("１３".encode()),
        form_feed=_cl(b"\x0c13"),
        vertical_tab=_cl(b"13\x0b"),
        nul=_cl(b"13\x00"),
        space_before_colon=HEAD + b"Content-Length : 13\r\n\r\n" + BODY,
        tab_before_colon=HEAD + b"Content-Length\t: 13\r\n\r\n" + BODY,
        folded=HEAD + b"Content-Length:\r\n 13\r\n\r\n" + BODY,
        cr_in_the_name=HEAD + b"Content\rLength: 13\r\n\r\n" + BODY,
    ),
    *accepted(
        "SMUG-CL-LEADING-ZEROS*, SMUG-CL-*-SPACE, SMUG-CL-DOUBLE-ZERO, llhttp content-length",
        leading_zeros=_cl(b"0013"),
        trailing_space=_cl(b"13 "),
        more_leading_space=HEAD + b"Content-Length:   13\r\n\r\n" + BODY,
        leading_tab=HEAD + b"Content-Length:\t13\r\n\r\n" + BODY,
        no_space=HEAD + b"Content-Length:13\r\n\r\n" + BODY,
        odd_case=HEAD + b"conTENT-lENGTH: 13\r\n\r\n" + BODY,
        underscored_name=HEAD + b"Content_Length: 99\r\n" + LENGTH + b"\r\n" + BODY,
    ),
]

CODINGS = [
    *refused(
        "SMUG-TE-*, SMUG-CHUNKED-WITH-PARAMS, COMP-UNKNOWN-TE-501, llhttp transfer-encoding",
        **{
            f"{name}_{kind}": made(value)
            for name, value in {
                "xchunked": b"xchunked",
                "chunkedx": b"chunkedx",
                "twice": b"chunked, chunked",
                "leading_comma": b", chunked",
                "trailing_comma": b"chunked,",
                "identity": b"identity",
                "gzip": b"gzip",
                "gzip_chunked": b"gzip, chunked",
                "chunked_gzip": b"chunked, gzip",
                "chunked_identity": b"chunked, identity",
                "deflate_chunked": b"deflate,chunked",
                "parameters": b"chunked;ext=val",
                "empty": b"",
                "quoted": b'"chunked"',
                "vertical_tab": b"\x0bchunked",
                "form_feed": b"\x0cchunked",
                "nul": b"chunked\x00",
                "backspace": b"chunked\x08",
                "split": b"chun ked",
                "pigeons": b"pigeons",
            }.items()
            for kind, made in (("with_length", _te), ("alone", _te_only))
        },
    ),
    *refused(
        "SMUG-TE-TRAILING-SPACE, SMUG-TE-CASE-MISMATCH, SMUG-TE-TAB-BEFORE-VALUE, SMUG-TE-DUPLICATE-HEADERS",
        chunked_with_trailing_space_and_length=_te(b"chunked "),
        capital_chunked_and_length=_te(b"Chunked"),
        tab_chunked_and_length=HEAD + b"Transfer-Encoding:\tchunked\r\n" + LENGTH + b"\r\n" + BODY,
        two_codings_and_length=HEAD + CHUNKED + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + BODY,
        chunked_then_identity=HEAD + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + WHOLE + END,
        identity_then_chunked=HEAD + b"Transfer-Encoding: identity\r\n" + CHUNKED + b"\r\n" + WHOLE + END,
        chunked_twice=HEAD + CHUNKED + CHUNKED + b"\r\n" + WHOLE + END,
        coding_with_space_before_colon=HEAD + b"Transfer-Encoding : chunked\r\n" + LENGTH + b"\r\n" + BODY,
        coding_with_tab_before_colon=HEAD + b"Transfer-Encoding\t: chunked\r\n" + LENGTH + b"\r\n" + BODY,
        coding_folded=HEAD + b"Transfer-Encoding:\r\n chunked\r\n" + LENGTH + b"\r\n" + BODY,
        coding_folded_alone=HEAD + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n" + WHOLE + END,
        coding_behind_a_bare_lf=HEAD + b"X: y\nTransfer-Encoding: chunked\r\n\r\n" + WHOLE + END,
        coding_behind_a_bare_cr=HEAD + b"X: y\rTransfer-Encoding: chunked\r\n\r\n" + WHOLE + END,
        coding_behind_nul=HEAD + b"X: y\0Transfer-Encoding: chunked\r\n\r\n" + WHOLE + END,
        coding_in_http_1_0=POST.replace(b"1.1", b"1.0") + HOST + AUTH + CHUNKED + b"\r\n" + WHOLE + END,
        coding_and_length_in_http_1_0=POST.replace(b"1.1", b"1.0") + HOST + AUTH + CHUNKED + LENGTH + b"\r\n" + BODY,
        leading_space_line=HEAD + b" Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
        three_empty_codings=HEAD + LENGTH + b"Transfer-Encoding:\r\n" * 3 + b"\r\n2\r\nAA\r\n0",
    ),
    *accepted(
        "SMUG-TE-CASE-MISMATCH, SMUG-TRANSFER_ENCODING, llhttp transfer-encoding",
        capital_chunked=_te_only(b"Chunked"),
        chunked_with_spaces=_te_only(b"  chunked  "),
        underscored_coding=HEAD + b"Transfer_Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
        other_header_named_alike=HEAD + b"X-Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
    ),
]

CHUNKS = [
    *refused(
        "SMUG-CHUNK-*, llhttp transfer-encoding",
        semicolon_alone=_chunks(b"d;\r\n" + BODY + b"\r\n" + END),
        extension_bad_token=_chunks(b"d;bad[=x\r\n" + BODY + b"\r\n" + END),
        extension_nul=_chunks(b"d;\0ext\r\n" + BODY + b"\r\n" + END),
        extension_bare_cr=_chunks(b"d;a\rX\r\n" + BODY + b"\r\n" + END),
        extension_bare_lf=_chunks(b"d;\n" + BODY + b"\r\n" + END),
        extension_named_bare_lf=_chunks(b"d;a\n" + BODY + b"\r\n" + END),
        extension_unbalanced_quote=_chunks(b'd;a="b\r\n' + BODY + b"\r\n" + END),
        extension_lf_in_quotes=_chunks(b'd;a="\n"\r\n' + BODY + b"\r\n" + END),
        extension_without_semicolon=_chunks(b"d ext\r\n" + BODY + b"\r\n" + END),
        size_underscore=_chunks(b"1_0\r\n" + BODY + b"\r\n" + END),
        size_hex_prefix=_chunks(b"0xd\r\n" + BODY + b"\r\n" + END),
        size_plus=_chunks(b"+d\r\n" + BODY + b"\r\n" + END),
        size_negative=_chunks(b"-1\r\n" + BODY + b"\r\n" + END),
        size_trailing_space=_chunks(b"d \r\n" + BODY + b"\r\n" + END),
        size_leading_space=_chunks(b" d\r\n" + BODY + b"\r\n" + END),
        size_trailing_tab=_chunks(b"d\t\r\n" + BODY + b"\r\n" + END),
        size_overflow=_chunks(b"fffffffffffffffff\r\n" + BODY + b"\r\n" + END),
        size_letter=_chunks(b"g\r\n" + BODY + b"\r\n" + END),
        size_empty=_chunks(b"\r\n" + BODY + b"\r\n" + END),
        size_quoted=_chunks(b'"d"\r\n' + BODY + b"\r\n" + END),
        size_comma=_chunks(b"d,d\r\n" + BODY + b"\r\n" + END),
        size_ends_with_cr=_chunks(b"d\r" + BODY + b"\r\n" + END),
        size_ends_with_lf=_chunks(b"d\n" + BODY + b"\r\n" + END),
        size_ends_with_cr_cr_lf=_chunks(b"d\r\r\n" + BODY + b"\r\n" + END),
        data_without_end=_chunks(b"d\r\n" + BODY + END),
        data_longer_than_said=_chunks(b"c\r\n" + BODY + b"\r\n" + END),
        data_ends_with_lf=_chunks(b"d\r\n" + BODY + b"\n" + END),
        data_ends_with_cr=_chunks(b"d\r\n" + BODY + b"\r" + END),
        last_chunk_ends_with_lf=_chunks(WHOLE + b"0\r\n\n"),
        last_chunk_line_ends_with_lf=_chunks(WHOLE + b"0\n\r\n"),
        trailer_bare_lf=_chunks(WHOLE + b"0\r\nX: y\n\r\n"),
        trailer_folded=_chunks(WHOLE + b"0\r\nX: y\r\n z\r\n\r\n"),
        trailer_space_before_colon=_chunks(WHOLE + b"0\r\nX : y\r\n\r\n"),
        trailer_bad_name=_chunks(WHOLE + b"0\r\nX[: y\r\n\r\n"),
    ),
    *accepted(
        "COMP-CHUNKED-*, SMUG-TRAILER-*, llhttp transfer-encoding",
        whole=_chunks(WHOLE + END),
        pieces=_chunks(b"3\r\n" + BODY[:3] + b"\r\nA\r\n" + BODY[3:] + b"\r\n" + END),
        upper_case_size=_chunks(b"D\r\n" + BODY + b"\r\n" + END),
        zeros_before_the_size=_chunks(b"000d\r\n" + BODY + b"\r\n000\r\n\r\n"),
        extension=_chunks(b"d;ext=value\r\n" + BODY + b"\r\n" + END),
        extension_quoted=_chunks(b'd;a="I \\"love\\"; \\\\x";b\r\n' + BODY + b"\r\n" + END),
        extensions=_chunks(b"d;a;b=c\r\n" + BODY + b"\r\n0;d\r\n\r\n"),
        trailer=_chunks(WHOLE + b"0\r\nX-Checksum: abc\r\n\r\n"),
        trailer_auth=_chunks(WHOLE + b"0\r\nAuthorization: Bearer evil\r\n\r\n"),
        trailer_host=_chunks(WHOLE + b"0\r\nHost: evil\r\n\r\n"),
    ),
    Case(
        "trailer_length", "SMUG-TRAILER-CL", _chunks(WHOLE + b"0\r\nContent-Length: 50\r\n\r\n"), (200, 400), body=BODY
    ),
    Case("trailer_coding", "SMUG-TRAILER-TE", _chunks(WHOLE + b"0\r\n" + CHUNKED + b"\r\n"), (200, 400), body=BODY),
    Case("no_last_chunk", "COMP-CHUNKED-NO-FINAL", _chunks(WHOLE), (408,), alone=True),
    Case("too_few_bytes", "COMP-POST-CL-UNDERSEND", HEAD + b"Content-Length: 99\r\n\r\n" + BODY, (408,), alone=True),
]

LINES = [
    *refused(
        "RFC9112-2.2-*, RFC9112-3-*, RFC9112-5-*, COMP-*, MAL-*, llhttp invalid",
        lf_after_the_request_line=POST[:-2] + b"\n" + HOST + AUTH + LENGTH + b"\r\n" + BODY,
        lf_after_a_header=POST + b"Host: gateway\nX: y\r\n" + AUTH + LENGTH + b"\r\n" + BODY,
        lf_only=(HEAD + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
        lf_ends_the_head=HEAD + LENGTH + b"\n" + BODY,
        cr_after_the_request_line=POST[:-2] + b"\r" + HOST + AUTH + LENGTH + b"\r\n" + BODY,
        cr_in_a_value=HEAD + b"X: val\rue\r\n" + LENGTH + b"\r\n" + BODY,
        cr_before_a_smuggled_request=HEAD + b"\rZGET /evil: HTTP/1.1\r\n\r\n",
        folded_value=_get(b"X: value\r\n continued"),
        folded_with_tab=_get(b"X: value\r\n\tcontinued"),
        folded_name=_get(b"name\r\n : value"),
        space_before_colon=_get(b"X : value"),
        name_with_brackets=_get(b"Bad[Name: value"),
        name_with_at=_get(b"Fo@: value"),
        name_empty=_get(b": value"),
        name_with_nul=_get(b"X\0Y: value"),
        name_with_control=_get(b"X\x01Y: value"),
        name_not_ascii=_get("X-Tëst: value".encode()),
        name_with_space=_get(b"X Y: value"),
        no_colon=_get(b"NoColonHere"),
        no_colon_with_controls=_get(b"Connection\r\x1b\x35eep-Alive"),
        value_with_nul=_get(b"X: a\0b"),
        value_with_controls=_get(b"X: abc\x07\x08\x0bdef"),
        value_with_del=_get(b"X: abc\x7f\x00def"),
        space_before_the_first_header=GET + b" \r\n" + HOST + AUTH + b"\r\n",
        header_after_a_space=GET + b" X: y\r\n" + HOST + AUTH + b"\r\n",
        tab_after_the_method=b"GET\t/v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        space_after_the_version=b"GET /v1/models HTTP/1.1 \r\n" + HOST + AUTH + b"\r\n",
        no_target=b"GET HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        version_9=b"GET /v1/models HTTP/9.9\r\n" + HOST + AUTH + b"\r\n",
        version_1_2=b"GET /v1/models HTTP/1.2\r\n" + HOST + AUTH + b"\r\n",
        version_2=b"GET /v1/models HTTP/2.0\r\n" + HOST + AUTH + b"\r\n",
        version_without_minor=b"GET /v1/models HTTP/1\r\n" + HOST + AUTH + b"\r\n",
        version_with_zeros=b"GET /v1/models HTTP/01.01\r\n" + HOST + AUTH + b"\r\n",
        version_with_space=b"GET /v1/models HTTP/ 1.1\r\n" + HOST + AUTH + b"\r\n",
        version_lower_case=b"GET /v1/models http/1.1\r\n" + HOST + AUTH + b"\r\n",
        version_longer=b"GET /v1/models HTTP/1.10\r\n" + HOST + AUTH + b"\r\n",
        protocol_ice=b"GET /v1/models ICE/1.0\r\n" + HOST + AUTH + b"\r\n",
        protocol_ihttp=b"GET /v1/models IHTTP/1.0\r\n" + HOST + AUTH + b"\r\n",
        protocol_rtsp=b"PUT /v1/models RTSP/1.0\r\n" + HOST + AUTH + b"\r\n",
        http_0_9=b"GET /v1/models\r\n",
        http_2_preface=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        tls_hello=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        random_bytes=bytes(range(128, 256)) * 2,
        blanks=b"   \r\n\r\n",
        method_lower_case=b"get /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        method_unknown=b"MKCOLA / HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        method_announce=b"ANNOUNCE /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        method_long=b"A" * 100_000 + b" / HTTP/1.1\r\n" + HOST + b"\r\n",
        method_with_controls=b"\x01GET / HTTP/1.1\r\n" + HOST + b"\r\n",
        target_with_nul=b"GET /v1/\0models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        target_with_control=b"GET /v1/\x01models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        target_not_ascii=b"GET /v1/caf\xc3\xa9 HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        target_with_del=b"GET /v1/\x7fmodels HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        target_with_space=b"GET /v1/mo dels HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        target_with_cr=b"GET /v1/mo\rdels HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
    ),
    *other(
        "COMP-LEADING-CRLF, RFC9112-3-MULTI-SP-REQUEST-LINE (may be accepted, RFC 9112, 3), COMP-*",
        (200,),
        keeps=True,
        two_spaces_after_the_method=b"GET  /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        two_spaces_before_the_version=b"GET /v1/models  HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        leading_line_ends=b"\r\n\r\n" + GET + HOST + AUTH + b"\r\n",
        line_end_between=GET + HOST + AUTH + b"\r\n\r\n",
        get_with_a_body=_get(b"Content-Length: 5")[:-2] + b"\r\nhello",
        get_with_chunks=GET + HOST + AUTH + CHUNKED + b"\r\n5\r\nhello\r\n" + END,
        range_on_get=_get(b"Range: bytes=0-10"),
        nonsense_accept=_get(b"Accept: nonsense/*/*"),
        many_cookies=_get(b"Cookie: " + b"; ".join(b"a%d=b" % n for n in range(500))),
        broken_cookie=_get(b"Cookie: ;=;a;;\x80"),
        obs_text=_get(b"X: caf\xe9"),
        upgrade_websocket=_get(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"),
        upgrade_unknown=_get(b"Connection: Upgrade\r\nUpgrade: totally-made-up/1.0"),
        upgrade_without_connection=_get(b"Upgrade: websocket"),
    ),
    *other(
        "COMP-HTTP10-DEFAULT-CLOSE, COMP-HTTP10-NO-HOST, COMP-CONNECTION-CLOSE",
        (200,),
        keeps=False,
        http_1_0=b"GET /v1/models HTTP/1.0\r\n" + HOST + AUTH + b"\r\n",
        http_1_0_without_host=b"GET /v1/models HTTP/1.0\r\n" + AUTH + b"\r\n",
        http_1_0_keep_alive=b"GET /v1/models HTTP/1.0\r\n" + HOST + AUTH + b"Connection: keep-alive\r\n\r\n",
        connection_close=_get(b"Connection: close"),
        connection_close_in_a_list=_get(b"Connection: x, Close"),
    ),
    *other(
        "SMUG-HEAD-CL-BODY, SMUG-OPTIONS-CL-BODY, COMP-OPTIONS-STAR, COMP-METHOD-TRACE, COMP-EXPECT-UNKNOWN",
        (204, 404, 405, 417),
        keeps=True,
        options_with_a_body=b"OPTIONS /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"Content-Length: 5\r\n\r\nhello",
        options_star=b"OPTIONS * HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        trace=b"TRACE /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        trace_with_a_body=b"TRACE /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"Content-Length: 5\r\n\r\nhello",
        delete=b"DELETE /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        put=b"PUT /v1/chat/completions HTTP/1.1\r\n" + HOST + AUTH + LENGTH + b"\r\n" + BODY,
        get_star=b"GET * HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        absolute_form=b"GET http://gateway/v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        absolute_form_of_another_host=b"GET http://other/v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        fragment=b"GET /v1/models#frag HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        dots=b"GET /v1/../v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        encoded_dots=b"GET /v1/%2e%2e/metrics HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        double_slash=b"POST //v1/chat/completions HTTP/1.1\r\n" + HOST + AUTH + LENGTH + b"\r\n" + BODY,
        backslash=b"GET /v1\\models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        encoded_slash=b"POST /v1%2fchat/completions HTTP/1.1\r\n" + HOST + AUTH + LENGTH + b"\r\n" + BODY,
        encoded_nul=b"POST /v1/chat/completions%00 HTTP/1.1\r\n" + HOST + AUTH + LENGTH + b"\r\n" + BODY,
        encoded_line_end=b"POST /v1/x%0d%0aX:y HTTP/1.1\r\n" + HOST + AUTH + LENGTH + b"\r\n" + BODY,
        expect_unknown=_get(b"Expect: 200-ok"),
    ),
    *other(
        "COMP-METHOD-CONNECT, llhttp method",
        (400, 404, 405),
        keeps=False,
        connect=b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n" + AUTH + b"\r\n",
        connect_with_a_length=b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + AUTH + LENGTH + b"\r\n" + BODY,
    ),
    *other(
        "MAL-LONG-*, MAL-MANY-HEADERS",
        (431,),
        keeps=False,
        long_target=b"GET /" + b"A" * 100_000 + b" HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
        long_value=_get(b"X-Big: " + b"B" * 100_000),
        long_name=_get(b"A" * 100_000 + b": val"),
        many_headers=_get(b"\r\n".join(b"X-H-%d: value" % n for n in range(10_000))),
    ),
    Case("nothing_more", "MAL-INCOMPLETE-REQUEST", GET + HOST + b"X-Test: value", (408,), alone=True),
]

HOSTS = [
    *refused(
        "RFC9112-7.1-MISSING-HOST, RFC9110-5.4-DUPLICATE-HOST, COMP-HOST-*, SMUG-MULTIPLE-HOST-COMMA",
        missing=POST + AUTH + LENGTH + b"\r\n" + BODY,
        two=HEAD + b"Host: other\r\n" + LENGTH + b"\r\n" + BODY,
        two_equal=HEAD + HOST + LENGTH + b"\r\n" + BODY,
        **{
            name: POST + b"Host: " + value + b"\r\n" + AUTH + LENGTH + b"\r\n" + BODY
            for name, value in {
                "empty": b"",
                "list": b"gateway, other",
                "path": b"gateway/path",
                "query": b"a/?x=",
                "question": b"a?x=",
                "fragment": b"a#b",
                "user": b"user@gateway",
                "user_and_password": b"a:b@gateway",
                "scheme": b"http://gateway",
                "space": b"a b",
                "quote": b'"gateway"',
                "long": b"a" * 300,
                "port_letters": b"gateway:http",
                "port_long": b"gateway:123456",
                "port_twice": b"gateway:80:80",
                "port_negative": b"gateway:-1",
                "bracket": b"[::1",
                "bracket_letters": b"[gateway]",
                "zone": b"[fe80::1%25eth0]",
                "percent": b"a%00b",
                "not_ascii": "gätewäy".encode(),
                "backslash": b"a\\b",
                "control": b"a\x01b",
                "semicolon": b"a;b",
                "less_than": b"a<b",
            }.items()
        },
        space_before_colon=POST + b"Host : gateway\r\n" + AUTH + LENGTH + b"\r\n" + BODY,
        folded=POST + b"Host:\r\n gateway\r\n" + AUTH + LENGTH + b"\r\n" + BODY,
    ),
    *accepted(
        "RFC 9110, 7.2",
        **{
            f"host_{name}": POST + b"Host: " + value + b"\r\n" + AUTH + LENGTH + b"\r\n" + BODY
            for name, value in {"port": b"gateway:8080", "ipv4": b"127.0.0.1:8080", "ipv6": b"[::1]:8080"}.items()
        },
    ),
]

GROUPS = {
    "conflict": CONFLICTING_LENGTHS,
    "length": LENGTHS,
    "coding": CODINGS,
    "chunk": CHUNKS,
    "line": LINES,
    "host": HOSTS,
}
