"""Catalog files and what follows from several catalogs."""

import json
from dataclasses import replace
from importlib import resources
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.catalog import MAX_CATALOG_BYTES, Drift, decode, drift, encode, merge, schema
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.ids import ModelId
from modelgrid.domain.model import Architecture, Capability, CatalogEntry

PACKAGED = resources.files("modelgrid.adapters.catalog_packaged")


def model(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": "acme/tiny",
        "aliases": ["tiny"],
        "capabilities": ["chat", "completions"],
        "parameters": 1_000_000,
        "dtype": "bfloat16",
        "context": 4096,
        "default_context": 2048,
        "licence": "mit",
        "architecture": {
            "weight_bytes": 2_000_000,
            "layers": 2,
            "attention_heads": 4,
            "kv_heads": 2,
            "head_size": 32,
            "source": "config.json",
        },
    }
    for key, value in changes.items():
        if key in {"layers", "attention_heads", "kv_heads", "kv_layers", "sliding_layers", "sliding_window"}:
            body["architecture"][key] = value
        else:
            body[key] = value
    return body


def document(*models: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"version": 1, "models": list(models), **fields}).encode()


def entry(name: str, *aliases: str, source: str = "a", context: int = 1024) -> CatalogEntry:
    return CatalogEntry(
        id=ModelId(name),
        aliases=aliases,
        capabilities=(Capability.CHAT,),
        parameters=1,
        dtype="bfloat16",
        context=context,
        default_context=context,
        licence="mit",
        architecture=Architecture(
            weight_bytes=1, layers=1, attention_heads=1, kv_heads=1, head_size=1, source="config.json"
        ),
        source=source,
    )


def test_a_file_is_read_whole_and_marked_with_its_source() -> None:
    [read] = decode(document(model(kv_layers=0, gated=True, vllm_args=["--runner", "pooling"])), source="mine")
    assert read.id == "acme/tiny"
    assert read.source == "mine"
    assert read.gated
    assert read.capabilities == (Capability.CHAT, Capability.COMPLETIONS)
    assert read.architecture.kv_layers == 0


def test_unknown_fields_are_left_alone_at_every_level() -> None:
    body = model(novelty=1)
    body["architecture"]["hidden_size"] = 128
    data = document(body, publisher="Acme", signature={"algorithm": "ed25519", "key_id": "k", "value": "AA==", "x": 1})
    assert decode(data, source="s")[0].id == "acme/tiny"


@pytest.mark.parametrize(
    ("changes", "path", "value", "expected"),
    [
        ({"parameters": "7B"}, "$.models[0].parameters", "7B", "int"),
        ({"gated": "yes"}, "$.models[0].gated", "yes", "bool"),
        ({"capabilities": ["sing"]}, "$.models[0].capabilities[0]", "sing", "enum"),
        ({"capabilities": []}, "$.models[0].capabilities", "[]", "length"),
        ({"layers": 0}, "$.models[0].architecture.layers", 0, ">= 1"),
        ({"layers": True}, "$.models[0].architecture.layers", True, "int"),
        ({"id": "--host"}, "$.models[0].id", "--host", "matching regex"),
        ({"id": "a b"}, "$.models[0].id", "a b", "matching regex"),
        ({"licence": ""}, "$.models[0].licence", "", "length"),
        ({"licence": "\x1b[31m"}, "$.models[0].licence", "\x1b[31m", "matching regex"),
        ({"context": 2**60}, "$.models[0].context", 2**60, "<="),
        ({"aliases": "tiny"}, "$.models[0].aliases", "tiny", "array"),
        ({"default_context": 5000}, "$.models[0].default_context", 5000, "4096"),
        ({"kv_heads": 3}, "$.models[0].architecture.kv_heads", 3, "divisor"),
        ({"kv_layers": 3}, "$.models[0].architecture.sliding_layers", 0, "at most"),
        ({"sliding_layers": 1}, "$.models[0].architecture.sliding_layers", 1, "sliding_window"),
        ({"repository": "../etc"}, "$.models[0].repository", "../etc", "owner/name"),
        ({"repository": "--config"}, "$.models[0].repository", "--config", "owner/name"),
        ({"repository": "/models/../etc"}, "$.models[0].repository", "/models/../etc", "hub"),
        ({"vllm_args": ["--middleware=x"]}, "$.models[0].vllm_args[0]", "--middleware=x", "other than"),
        ({"vllm_args": ["--trust-remote-code"]}, "$.models[0].vllm_args[0]", "--trust-remote-code", "other than"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path_value_and_what_was_expected(
    changes: dict[str, Any], path: str, value: Any, expected: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(document(model(**changes)), source="acme")
    details = caught.value.details
    assert details["path"] == path
    assert details["value"] == value
    assert expected in details["expected"]
    assert details["source"] == "acme"
    assert "acme" in caught.value.message


@pytest.mark.parametrize("field", ["id", "capabilities", "parameters", "architecture", "licence"])
def test_a_missing_field_is_named(field: str) -> None:
    body = model()
    del body[field]
    with pytest.raises(InvalidInput, match=field):
        decode(document(body), source="s")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b'{"version": 1}', b'{"models": []}'])
def test_what_is_no_catalog_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode(data, source="s")


def test_a_newer_format_is_refused_as_such() -> None:
    with pytest.raises(InvalidInput, match="update ModelGrid"):
        decode(document(version=2, models={"other": "shape"}), source="s")


def test_an_oversized_file_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidInput, match="at most"):
        decode(b" " * (MAX_CATALOG_BYTES + 1), source="s")


def test_local_folders_are_for_local_catalogs_only() -> None:
    data = document(model(repository="/models/tiny"))
    assert decode(data, source="s")[0].location == "/models/tiny"
    with pytest.raises(InvalidInput, match="hub"):
        decode(data, source="s", local_paths=False)


@pytest.mark.parametrize(
    "others",
    [[model(id="acme/other")], [model()], [model(id="acme/TINY", aliases=[])], [model(id="tiny", aliases=[])]],
)
def test_a_name_used_twice_in_one_file_is_refused(others: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidInput, match="a name of its own"):
        decode(document(model(), *others), source="s")


def test_the_published_schema_is_the_one_of_the_code() -> None:
    assert json.loads(PACKAGED.joinpath("catalog.schema.json").read_text()) == json.loads(msgspec.json.encode(schema()))


def test_what_is_encoded_is_read_back_and_the_packaged_file_is_in_that_form() -> None:
    data = PACKAGED.joinpath("catalog.json").read_bytes()
    entries = decode(data, source="packaged")
    assert encode(entries, generated=json.loads(data)["generated"]) == data


def test_the_earlier_catalog_has_its_way() -> None:
    merged = merge([[entry("acme/one", "uno", context=1)], [entry("acme/one", context=2), entry("acme/two", "uno")]])
    assert [e.id for e in merged.entries] == ["acme/one", "acme/two"]
    assert merged.entries[0].context == 1
    assert merged.entries[1].aliases == (), "the alias stays with whom it named first"


def test_ids_win_over_aliases_of_earlier_catalogs() -> None:
    merged = merge([[entry("acme/one", "acme/two")], [entry("acme/two")]])
    found = merged.find("acme/two")
    assert found is not None
    assert found.id == "acme/two"


def test_names_are_found_as_written_first_then_without_case() -> None:
    merged = merge([[entry("Acme/One", "uno")]])
    for name in ("Acme/One", "acme/one", "UNO"):
        assert merged.find(name) == merged.entries[0]
    assert merged.find("acme") is None


@given(
    st.lists(
        st.lists(
            st.builds(
                lambda name, alias: entry(name, *([alias] if alias != name else [])),
                st.sampled_from("abcdefAB"),
                st.sampled_from("abcdefgxyzXY"),
            ),
            max_size=6,
        ),
        max_size=4,
    )
)
def test_every_name_means_exactly_one_entry(catalogs: list[list[CatalogEntry]]) -> None:
    merged = merge(catalogs)
    folded = [name.casefold() for e in merged.entries for name in e.names]
    assert sorted(set(folded)) == sorted(merged.folded)
    for e in merged.entries:
        assert merged.find(e.id) == e
        for name in e.names:
            found = merged.find(name)
            assert found is not None
            assert found.id == e.id
    assert merge([merged.entries]) == merged, "merging again changes nothing"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("meta-llama/Llama-3.1-8B-Instrct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("llama-3.1-8B-instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("qwen3 8b", "Qwen/Qwen3-8B"),
        ("gpt-oss", "openai/gpt-oss-20b"),
        ("bge-m4", "BAAI/bge-m3"),
    ],
)
def test_close_names_are_suggested(asked: str, meant: str) -> None:
    merged = merge([decode(PACKAGED.joinpath("catalog.json").read_bytes(), source="packaged")])
    suggestions = merged.suggest(asked)
    assert meant in suggestions
    assert len(suggestions) <= 3
    assert merged.suggest("zzzzzzzz") == ()


def test_drift_tells_what_is_new_changed_and_gone() -> None:
    old = [entry("a"), entry("b"), entry("c")]
    new = [entry("b", source="elsewhere"), entry("c", context=9), entry("d")]
    assert drift(old, new) == Drift(added=("d",), changed=("c",), removed=("a",))
    assert not drift(old, [replace(e, source="elsewhere") for e in old])


def test_the_last_part_of_an_id_names_a_model_when_it_is_unique() -> None:
    first, second = entry("org/Tiny-1B"), entry("other/Tiny-1B")
    assert merge([[first]]).find("tiny-1b") == first
    assert merge([[first, second]]).find("tiny-1b") is None
    aliased = entry("other/thing", "tiny-1b")
    assert merge([[first, aliased]]).find("tiny-1b") == aliased
