"""More raw requests, so that every one of the public suites has its verdict; `http_suites.txt` names them by theirs."""

from http_cases import (
    AUTH,
    BODY,
    CHUNKED,
    END,
    GET,
    HEAD,
    HOST,
    LENGTH,
    POST,
    WHOLE,
    Case,
    accepted,
    other,
    refused,
)  # fmt: skip

SMUGGLED = b"GET /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n"
HEAD_REQUEST = b"HEAD /v1/models HTTP/1.1\r\n" + HOST + AUTH


def _get(line: bytes) -> bytes:
    return GET + HOST + AUTH + line + b"\r\n\r\n"


def _at(target: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + HOST + AUTH + b"\r\n"


def _hidden(length: bytes, coding: bytes, hidden: bytes = SMUGGLED) -> bytes:
    """A request inside the body of another: whoever believes the one framing sees it as the next one."""
    return HEAD + length + b"\r\n" + coding + b"\r\n\r\n" + END + hidden


FIVE = b"Content-Length: %d" % len(END)

SMUGGLING = [
    *refused(
        "Http11Probe SMUG-*-SMUGGLED-*",
        clte_get=_hidden(FIVE, b"Transfer-Encoding: chunked"),
        clte_head=_hidden(FIVE, b"Transfer-Encoding: chunked", HEAD_REQUEST + b"\r\n"),
        clte_get_trailing_space=_hidden(FIVE, b"Transfer-Encoding: chunked "),
        clte_get_leading_comma=_hidden(FIVE, b"Transfer-Encoding: , chunked"),
        clte_get_other_case=_hidden(FIVE, b"Transfer-Encoding: cHuNkEd"),
        clte_get_folded=_hidden(FIVE, b"Transfer-Encoding:\r\n chunked"),
        clte_get_length_plus=_hidden(b"Content-Length: +5", b"Transfer-Encoding: chunked"),
        clte_get_length_letter=_hidden(b"Content-Length: 5x", b"Transfer-Encoding: chunked"),
        tecl_get=HEAD + CHUNKED + b"Content-Length: 4\r\n\r\n%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n" + END,
        tecl_close=HEAD + CHUNKED + LENGTH + b"Connection: close\r\n\r\n" + END,
        two_codings_get=_hidden(FIVE, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        two_lengths_get=HEAD + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        options_folded_coding=b"OPTIONS /v1/models HTTP/1.1\r\n" + HOST + AUTH
        + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\nhello",
    ),
    *accepted(
        "Http11Probe SMUG-EXPECT-100-CL*, SMUG-TRAILER-CONTENT-TYPE, NORM-CASE-TE, SMUG-HEADER-INJECTION",
        expect_and_body_at_once=HEAD + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY,
        trailer_content_type=HEAD + CHUNKED + b"\r\n" + WHOLE + b"0\r\nContent-Type: text/evil\r\n\r\n",
        coding_name_in_capitals=HEAD + b"TRANSFER-ENCODING: chunked\r\n\r\n" + WHOLE + END,
        injected_line_is_a_header=HEAD + b"X-A: b\r\nX-Injected: yes\r\n" + LENGTH + b"\r\n" + BODY,
        length_with_octal_looks=HEAD + b"Content-Length: 00000000013\r\n\r\n" + BODY,
    ),
    *other(
        "Http11Probe SMUG-CL-DOUBLE-ZERO, SMUG-*-BODY-*, SMUG-PIPELINE-SAFE",
        (200,),
        keeps=True,
        length_double_zero=_get(b"Content-Length: 00"),
        head_with_a_body=HEAD_REQUEST + b"Content-Length: 5\r\n\r\nhello",
        body_begins_a_request=GET + HOST + AUTH + b"Content-Length: 25\r\n\r\nGET /v1/x HTTP/1.1\r\nX-Y: ",
        alone_and_good=GET + HOST + AUTH + b"\r\n",
    ),
    Case("length_zero_then_a_letter", "Http11Probe SMUG-CL0-BODY-POISON", _get(b"Content-Length: 0") + b"X", (200,),
         then=(400,)),
]  # fmt: skip

MALFORMED = [
    *accepted(
        "Http11Probe MAL-CHUNK-EXT-64K: no more than headers may have",
        long_chunk_extension=HEAD + CHUNKED + b"\r\nd;" + b"a" * 65_000 + b"\r\n" + BODY + b"\r\n" + END,
    ),
    *refused(
        "what is neither header nor body has the bound of headers",
        longer_chunk_extension=HEAD + CHUNKED + b"\r\nd;" + b"a" * 2_000_000 + b"\r\n" + BODY + b"\r\n" + END,
        longer_trailers=HEAD + CHUNKED + b"\r\n" + WHOLE + b"0\r\n" + b"X: y\r\n" * 400_000 + b"\r\n",
    ),
    *other("Http11Probe MAL-POST-CL-HUGE-NO-BODY", (413,), keeps=False,
           huge_length_no_body=HEAD + b"Content-Length: 999999999999\r\n\r\n"),
    *refused(
        "Http11Probe MAL-*, COOK-NUL, COOK-CONTROL-CHARS, NORM-TAB-IN-NAME, llhttp invalid",
        target_overlong_utf8=_at(b"/v1/\xc0\xafmodels"),
        cookie_with_nul=_get(b"Cookie: a=b\0c"),
        cookie_with_controls=_get(b"Cookie: a=\x01\x02b"),
        name_with_tab=_get(b"X\tY: value"),
        empty_value_ends_with_cr=HEAD + b"x:\rTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n" + END,
        empty_value_ends_with_lf=HEAD + b"x:\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n" + END,
        name_with_cr_and_controls=_get(b"X-Some-Header\r\x1b\x35eep-Alive"),
        length_behind_a_bare_lf=GET + HOST + AUTH + b"Dummy: x\nContent-Length: 23\r\n\r\n" + SMUGGLED,
        version_5_6=b"GET / HTTP/5.6\r\n" + HOST + b"\r\n",
        folded_length=HEAD + b"Foo: bar\r\n Content-Length: 38\r\n\r\n" + SMUGGLED,
        lines_end_with_lf=b"POST /v1/chat/completions HTTP/1.1\nTransfer-Encoding: chunked\n\n1\nA\n0\n\n",
        two_content_types=HEAD + b"Content-Type: application/json\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        + LENGTH + b"\r\n" + BODY,
    ),
    *other("Http11Probe COOK-OVERSIZED", (431,), keeps=False, cookie_oversized=_get(b"Cookie: a=" + b"b" * 70_000)),
]  # fmt: skip

HARMLESS = [
    *other(
        "Http11Probe COOK-*, CAP-*, WS-*, MAL-RANGE-OVERLAPPING, COMP-*; llhttp sample, uri, connection",
        (200,),
        keeps=True,
        cookie_echo=_get(b"Cookie: session=abc123"),
        cookie_empty=_get(b"Cookie: "),
        cookie_two_headers=_get(b"Cookie: a=1\r\nCookie: b=2"),
        cookie_empty_value=_get(b"Cookie: foo="),
        cookie_pairs=_get(b"Cookie: a=1; b=2; c=3"),
        cookie_special=_get(b"Cookie: a=b=c; d=%20~!"),
        if_none_match_any=_get(b"If-None-Match: *"),
        if_none_match_weak=_get(b'If-None-Match: W/"abc"'),
        if_none_match_strong=_get(b'If-None-Match: "abc"'),
        if_none_match_unquoted=_get(b"If-None-Match: abc"),
        if_modified_since=_get(b"If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT"),
        if_modified_since_future=_get(b"If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT"),
        if_modified_since_nonsense=_get(b"If-Modified-Since: not-a-date"),
        if_none_match_and_modified=_get(b'If-None-Match: "x"\r\nIf-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT'),
        upgrade_version_99=_get(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99"),
        ranges_overlapping=_get(b"Range: bytes=0-,0-,0-,0-"),
        range_nonsense=_get(b"Range: lines=abc"),
        long_query=_at(b"/v1/models?q=" + b"a" * 7000),
        head=HEAD_REQUEST + b"\r\n",
        query_with_quotes=_at(b'/v1/models?foo="bar"'),
        query_with_question_mark=_at(b"/v1/models?a=b?c=d"),
        query_encoded=_at(b"/v1/models?q=%7B%22a%22%7D"),
        value_of_pluses=_get(b"aaaaaaaaaaaaa:++++++++++"),
        value_with_255=_get(b"X: \xffvalue"),
        value_with_tab_before=_get(b"X:\t value"),
        agent_of_a_browser=_get(b"User-Agent: Mozilla/5.0 (X11)\r\nAccept-Language: en;q=0.5\r\nKeep-Alive: 300\r\n"
                                b"Accept-Charset: utf-8;q=0.7,*;q=0.7\r\nConnection: keep-alive"),
        connection_tokens=_get(b"Connection: token, x-other, keep-alive"),
    ),
    *other(
        "Http11Probe WS-UPGRADE-HTTP10; llhttp connection",
        (200,),
        keeps=False,
        upgrade_in_http_1_0=b"GET /v1/models HTTP/1.0\r\n" + HOST + AUTH + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n",
        connection_close_among_tokens=_get(b"Connection: close, token, upgrade, token, keep-alive"),
    ),
    *accepted(
        "Http11Probe COMP-POST-*, COMP-RANGE-POST, WS-UPGRADE-POST; llhttp connection, content-length",
        post=HEAD + LENGTH + b"\r\n" + BODY,
        post_as_text=HEAD + b"Content-Type: text/plain\r\n" + LENGTH + b"\r\n" + BODY,
        post_range=HEAD + b"Range: bytes=0-1\r\n" + LENGTH + b"\r\n" + BODY,
        post_upgrade=HEAD + b"Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n" + LENGTH + b"\r\n" + BODY,
        length_then_header=HEAD + b"Content-Length: 013\r\nOhai: world\r\n\r\n" + BODY,
    ),
    Case("post_1_0_with_expect", "Http11Probe COMP-NO-1XX-HTTP10",
         POST.replace(b"1.1", b"1.0") + HOST + AUTH + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY,
         (200,), body=BODY),
    *other(
        "Http11Probe COMP-CHUNKED-EMPTY, COMP-POST-CL-ZERO, COMP-POST-NO-CL-NO-TE",
        (400,),
        keeps=True,
        post_chunked_empty=HEAD + CHUNKED + b"\r\n" + END,
        post_length_zero=HEAD + b"Content-Length: 0\r\n\r\n",
        post_without_a_length=HEAD + b"\r\n",
    ),
    *other(
        "llhttp method, uri",
        (400, 404, 405),
        keeps=True,
        report=_at(b"/v1/models", b"REPORT"),
        m_search=_at(b"*", b"M-SEARCH"),
        patch=b"PATCH /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"Content-Length: 5\r\n\r\nccccc",
        purge=_at(b"/v1/models", b"PURGE"),
        search=_at(b"/v1/models", b"SEARCH"),
        link=_at(b"/v1/models", b"LINK"),
        unlink=_at(b"/v1/models", b"UNLINK"),
        of_source=_at(b"/v1/models", b"SOURCE"),
        absolute_with_port=_at(b"http://gateway:8080/v1/models?a=b"),
        absolute_without_path=_at(b"http://gateway?hail=all"),
        absolute_with_password=_at(b"http://a:b@gateway/v1/models"),
    ),
]  # fmt: skip

GROUPS = {"smuggled": SMUGGLING, "malformed": MALFORMED, "harmless": HARMLESS}
