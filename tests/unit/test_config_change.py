"""What a patch makes of a configuration, and which keys it touches."""

import json
from typing import Any

import pytest

from modelgrid.config.change import changes, keep_secrets, merge, resolved, with_keys
from modelgrid.config.file import parse_config
from modelgrid.config.keys import APPLIES, LIVE_KEYS, model_keys, value_at
from modelgrid.config.model import REDACTED, Config, redacted
from modelgrid.config.urls import check_catalog_url, check_url
from modelgrid.decide.addresses import forbidden_address
from modelgrid.domain.errors import InvalidConfig


def config_of(document: dict[str, Any]) -> Config:
    return parse_config(json.dumps(document), source="test")


def test_every_key_says_when_it_holds() -> None:
    assert list(APPLIES) == list(model_keys()), "a new key needs its line, in the order of the model"
    document = resolved(Config())  # type: ignore[call-arg]
    for key in APPLIES:
        value_at(document, key)


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_patch_is_merged_as_rfc_7396_says(document: Any, patch: Any, result: Any) -> None:
    before = json.dumps(document)
    assert merge(document, patch) == result
    assert json.dumps(document) == before


def test_keys_keep_their_order() -> None:
    merged = merge({"models": {}, "api": {"port": 1, "host": "h"}, "zzz": 1}, {"api": {"port": 2}, "gpus": {}})
    assert list(merged) == ["models", "api", "zzz", "gpus"]
    assert list(merged["api"]) == ["port", "host"]


def test_changes_name_keys_and_hide_secrets() -> None:
    before = config_of({"cluster": {"sharedSecret": "correct-horse-battery"}, "api": {"rateLimit": 5}})
    after = config_of(
        {
            "cluster": {"sharedSecret": "another-horse-battery"},
            "containers": [{"name": "a", "model": "m", "env": {"HF_TOKEN": "hf_secret"}}],
            "api": {"port": 9000},
        }
    )
    found = {change.path: change for change in changes(before, after)}
    assert set(found) == {"cluster.sharedSecret", "containers", "api.port", "api.rateLimit"}
    assert (found["api.rateLimit"].before, found["api.rateLimit"].after) == (5, None)
    assert not found["api.rateLimit"].restart_required
    assert found["api.port"].restart_required
    assert "horse" not in repr(found)
    assert "hf_secret" not in repr(found)


def test_with_keys_takes_those_and_no_others() -> None:
    running, wanted = Config(), config_of({"api": {"port": 9000, "rateLimit": 7}, "nodeName": "other"})  # type: ignore[call-arg]
    holds = with_keys(running, wanted, LIVE_KEYS)
    assert holds.api.rate_limit == 7
    assert holds.api.port == 8080
    assert [change.path for change in changes(holds, wanted)] == ["nodeName", "api.port"]


SECRETS = {
    "cluster": {"sharedSecret": "correct-horse-battery"},
    "containers": [{"name": "a", "model": "m", "env": {"HF_TOKEN": "hf_secret", "B": "b"}}],
}


def test_what_was_shown_can_be_sent_back() -> None:
    shown = redacted(resolved(config_of(SECRETS)))
    assert config_of(keep_secrets(merge(SECRETS, shown), SECRETS)) == config_of(SECRETS)


def test_a_secret_can_be_replaced_and_its_container_renamed_beside_it() -> None:
    patch = {"containers": [{"name": "a", "model": "m", "env": {"HF_TOKEN": "new", "B": REDACTED}}]}
    assert keep_secrets(merge(SECRETS, patch), SECRETS)["containers"][0]["env"] == {"HF_TOKEN": "new", "B": "b"}


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"containers": [{"name": "b", "model": "m", "env": {"HF_TOKEN": REDACTED}}]}, "containers.0.env.HF_TOKEN"),
        ({"containers": [{}, {"name": ["a"], "env": {"X": REDACTED}}]}, "containers.1.env.X"),
        ({"containers": [{"name": "a", "model": "m", "env": {"OTHER": REDACTED}}]}, "containers.0.env.OTHER"),
    ],
)
def test_a_placeholder_never_becomes_a_secret(patch: Any, path: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        keep_secrets(merge(SECRETS, patch), SECRETS)
    assert caught.value.details["problems"][0]["path"] == path
    with pytest.raises(InvalidConfig):
        keep_secrets({"cluster": {"sharedSecret": REDACTED}}, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://metadata.google.internal/",
        "http://METADATA.google.internal./",
        "http://100.100.100.200/",
        "http://0.0.0.0:80/",
        "http://user:password@host/",
        "ftp://host/",
        "http:///x",
        "http://host:0/",
        "http://host:99999/",
        "http://ho\tst/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_x",
    ],
)
def test_addresses_that_nobody_may_send_the_daemon_to(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Port|port"):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7:8000", "https://host/a?b=c", "http://127.0.0.1:1/", "http://[::1]:80"]
)
def test_addresses_of_engines(url: str) -> None:
    assert check_url(url) == url


def test_catalogs_are_read_over_https_or_from_here() -> None:
    for url in ("https://a/b", "http://127.0.0.1:8/x", "http://localhost/x"):
        assert check_catalog_url(url) == url
    with pytest.raises(ValueError, match="https"):
        check_catalog_url("http://10.0.0.7/catalog.json")


@pytest.mark.parametrize(
    "document",
    [
        {"models": {"registryUrl": "http://169.254.169.254/"}},
        {"models": {"sources": [{"name": "a", "url": "http://169.254.169.254/"}]}},
        {"models": {"sources": [{"name": "registry", "url": "/a"}]}},
        {"containers": [{"name": "a", "model": "m", "url": "http://169.254.169.254:80"}]},
        {"cluster": {"advertiseUrl": "http://169.254.169.254:80"}},
        {"cluster": {"controlPlaneUrl": "http://a:b@c"}},
    ],
)
def test_the_model_refuses_them(document: Any) -> None:
    with pytest.raises(InvalidConfig):
        config_of(document)


def test_forbidden_addresses() -> None:
    assert forbidden_address("fe80::1%eth0")
    assert forbidden_address("224.0.0.1")
    assert not forbidden_address("10.0.0.1")
    assert not forbidden_address("name")


def test_an_empty_registry_is_none() -> None:
    assert config_of({"models": {"registryUrl": ""}}).models.registry_url is None
