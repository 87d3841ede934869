"""Calls of other sites and names that lie, told by headers (S2, S10)."""

import pytest

from modelgrid.decide.browser import cross_site_reason, host_name, is_known_host

HOST = "127.0.0.1:8081"


@pytest.mark.parametrize(
    ("fetch_site", "origin", "has_cookie", "refused"),
    [
        ("same-origin", "http://127.0.0.1:8081", True, False),
        ("none", None, True, False),
        ("same-origin", "https://proxy.example", True, False),
        ("cross-site", "https://evil.example", True, True),
        ("cross-site", None, False, True),
        ("same-site", "http://127.0.0.1:3000", True, True),
        ("same-site", "http://127.0.0.1:8081", True, True),
        ("", None, True, True),
        ("weird", "http://127.0.0.1:8081", True, True),
        (None, "http://127.0.0.1:8081", True, False),
        (None, "https://127.0.0.1:8081", True, False),
        (None, "http://127.0.0.1:3000", True, True),
        (None, "http://evil.example", False, True),
        (None, "null", True, True),
        (None, "", True, True),
        (None, "http://127.0.0.1:8081@evil.example", True, True),
        (None, "http://evil.example/127.0.0.1:8081", True, True),
        (None, None, True, True),
        (None, None, False, False),
    ],
)
def test_which_calls_are_of_another_site(
    fetch_site: str | None, origin: str | None, has_cookie: bool, refused: bool
) -> None:
    reason = cross_site_reason(host=HOST, fetch_site=fetch_site, origin=origin, has_cookie=has_cookie)
    assert bool(reason) is refused, reason


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("gpu-1", "gpu-1"),
        ("GPU-1.Example.org.:8081", "gpu-1.example.org"),
        ("127.0.0.1:8081", "127.0.0.1"),
        ("[::1]:8081", "::1"),
        ("localhost", "localhost"),
        ("", None),
        ("a b", None),
        ("gpu-1:port", None),
        ("gpu-1:99999", None),
        ("user@gpu-1", None),
        ("gpu-1/path", None),
        ("gpu-1?query", None),
        ("[::1", None),
        ("gpu\u00e9", None),
        (":8081", None),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str | None) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("localhost", True),
        ("gpu-1", True),
        ("console.example.org", True),
        ("10.1.2.3", True),
        ("::1", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("gpu-1.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("2130706433", False),
        ("0x7f000001", False),
    ],
)
def test_which_names_are_ours(name: str, known: bool) -> None:
    assert is_known_host(name, {"GPU-1", "console.example.org."}) is known
