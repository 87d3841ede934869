"""Catalog files, and what follows from several catalogs: lookup by any name, close matches, drift.

`decode` reads the published JSON format (`docs/architecture/catalog.md`, schema by `schema()`). Fields it does not
know are left alone, so that older installations read newer catalogs; a wrong type, a value out of bounds or an entry
that contradicts itself refuses the whole file with the path, the value and what was expected.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, NoReturn, cast

import msgspec

from modelgrid.decide.spec_rules import check_args, is_plain_absolute_path
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.ids import ModelId
from modelgrid.domain.model import Architecture, Capability, CatalogEntry

FORMAT_VERSION: Final = 1
MAX_CATALOG_BYTES: Final = 4 * 1024**2
"""A thousand entries take about 1 MiB."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"
_LINE = r"^[^\x00-\x1f\x7f]*$"
_DATE = r"^(\d{4}-\d{2}-\d{2})?$"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=_NAME)]
Line = Annotated[str, msgspec.Meta(max_length=500, pattern=_LINE)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=_LINE)]
Date = Annotated[str, msgspec.Meta(max_length=10, pattern=_DATE)]
Argument = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Small = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
Large = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
"""JSON numbers are exact up to 2**53 in every reader."""


class ArchitectureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a model's published configuration; see `domain.model.Architecture`."""

    weight_bytes: Large
    layers: Positive
    attention_heads: Positive
    kv_heads: Positive
    head_size: Positive
    kv_layers: Small | None = None
    sliding_layers: Small = 0
    sliding_window: Small = 0
    kv_latent_size: Positive | None = None
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=_LINE)]


class EntryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One model; see `domain.model.CatalogEntry`."""

    id: Name
    aliases: Annotated[tuple[Name, ...], msgspec.Meta(max_length=32)] = ()
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(min_length=1, max_length=8)]
    parameters: Large
    dtype: Word
    context: Tokens
    default_context: Tokens
    default_gpus: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    licence: Word
    gated: bool = False
    vllm_args: Annotated[tuple[Argument, ...], msgspec.Meta(max_length=64)] = ()
    repository: Line = ""
    trust_remote_code: bool = False
    architecture: ArchitectureRecord
    added: Date = ""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A detached signature of the file without this member, in canonical JSON (RFC 8785). Kept, not yet verified."""

    algorithm: Word
    key_id: Word
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=r"^[A-Za-z0-9+/=_-]+$")]


class CatalogFile(msgspec.Struct, frozen=True, kw_only=True):
    """A catalog as it is published."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    generated: Date = ""
    signature: Signature | None = None
    models: Annotated[tuple[EntryRecord, ...], msgspec.Meta(max_length=10_000)]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a catalog file, as it is published beside the packaged catalog."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ModelGrid model catalog",
        **msgspec.json.schema(CatalogFile),
    }


def decode(data: bytes, *, source: str, local_paths: bool = True) -> tuple[CatalogEntry, ...]:
    """Return the entries of a catalog file, in its order, each marked with `source`.

    `local_paths`: whether an entry may name a folder of this machine as its repository; not for catalogs from
    the network. Raises `InvalidInput` with `details = {source, path, value, expected}`.
    """
    if len(data) > MAX_CATALOG_BYTES:
        _refuse(source, "$", f"{len(data)} bytes", f"at most {MAX_CATALOG_BYTES} bytes")
    _check_version(data, source)
    try:
        catalog = msgspec.json.decode(data, type=CatalogFile)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        path = path.rstrip("`") or "$"
        _refuse(source, path, _value_at(data, path), message[:1].lower() + message[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _refuse(source, "$", f"{len(data)} bytes", f"JSON ({error})")
    entries = tuple(_entry(record, source) for record in catalog.models)
    for number, entry in enumerate(entries):
        _check_entry(entry, f"$.models[{number}]", source, local_paths=local_paths)
    _check_names(entries, source)
    return entries


def _check_version(data: bytes, source: str) -> None:
    """A newer format may be refused by any of its fields; say that it is newer before saying anything else."""
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _refuse(source, "$", f"{len(data)} bytes", f"JSON ({error})")
    version = head.get("version") if isinstance(head, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        _refuse(source, "$.version", version, f"{FORMAT_VERSION}; update ModelGrid to read newer catalogs")


def _entry(record: EntryRecord, source: str) -> CatalogEntry:
    fields = msgspec.structs.asdict(record)
    fields["id"] = ModelId(record.id)
    fields["architecture"] = Architecture(**msgspec.structs.asdict(record.architecture))
    return CatalogEntry(**fields, source=source)


def _check_entry(entry: CatalogEntry, path: str, source: str, *, local_paths: bool) -> None:
    facts = entry.architecture
    if entry.default_context > entry.context:
        _refuse(source, f"{path}.default_context", entry.default_context, f"at most the context, {entry.context}")
    if facts.attention_heads % facts.kv_heads:
        expected = f"a divisor of attention_heads, {facts.attention_heads}"
        _refuse(source, f"{path}.architecture.kv_heads", facts.kv_heads, expected)
    full = facts.layers - facts.sliding_layers if facts.kv_layers is None else facts.kv_layers
    if full < 0 or full + facts.sliding_layers > facts.layers:
        expected = f"at most the {facts.layers} layers together with kv_layers"
        _refuse(source, f"{path}.architecture.sliding_layers", facts.sliding_layers, expected)
    if facts.sliding_layers and (not facts.sliding_window or facts.kv_layers is None):
        expected = "sliding_window and kv_layers beside sliding_layers"
        _refuse(source, f"{path}.architecture.sliding_layers", facts.sliding_layers, expected)
    local = entry.repository.startswith("/")
    if local and not (local_paths and is_plain_absolute_path(entry.repository)):
        _refuse(source, f"{path}.repository", entry.repository, "a repository of the hub")
    if entry.repository and not local and not re.fullmatch(_NAME, entry.repository):
        _refuse(source, f"{path}.repository", entry.repository, "owner/name, or an absolute path")
    try:
        check_args(entry.vllm_args, path=f"{path}.vllm_args")
    except InvalidInput as error:
        raise InvalidInput(
            f"Catalog {source}: {error.message}", fix=error.fix, source=source, **error.details
        ) from error


def _check_names(entries: Sequence[CatalogEntry], source: str) -> None:
    owners: dict[str, str] = {}
    for number, entry in enumerate(entries):
        for name in entry.names:
            owner = owners.setdefault(name.casefold(), entry.id)
            if owner != entry.id or (name == entry.id and any(e.id == entry.id for e in entries[:number])):
                _refuse(source, f"$.models[{number}]", name, f"a name of its own; {owner} has it already")


def _value_at(data: bytes, path: str) -> Any:
    """Return the value a validation error speaks of, shortened; `None` where it cannot be told."""
    value = msgspec.json.decode(data)
    for key, index in re.findall(r"\.([A-Za-z_]\w*)|\[(\d+)\]", path):
        try:
            value = value[int(index)] if index else value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value if isinstance(value, int | float | bool | None) else str(value)[:200]


def _refuse(source: str, path: str, value: Any, expected: str) -> NoReturn:
    raise InvalidInput(
        f"Catalog {source}: {path} is {value!r}; expected {expected}.",
        fix="Mend the catalog, or remove the source from `models` in config.json.",
        source=source,
        path=path,
        value=value,
        expected=expected,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Several catalogs as one. Built by `merge`; ids and aliases name exactly one entry each."""

    entries: tuple[CatalogEntry, ...] = ()
    """Sorted by id."""
    exact: Mapping[str, CatalogEntry] = field(default_factory=dict, repr=False)
    folded: Mapping[str, CatalogEntry] = field(default_factory=dict, repr=False)

    def find(self, name: str) -> CatalogEntry | None:
        """Return the entry with this id, alias or last part of an id that is unique: as written first, then without
        regard to case."""
        return self.exact.get(name) or self.folded.get(name.casefold())

    def suggest(self, name: str, limit: int = 3) -> tuple[str, ...]:
        """Return ids whose names are close to `name`, closest first; for "did you mean"."""
        wanted = name.casefold()
        tail = wanted.rpartition("/")[2]
        scores: dict[str, float] = {}
        for key, entry in self.folded.items():
            score = max(
                difflib.SequenceMatcher(None, wanted, key).ratio(),
                difflib.SequenceMatcher(None, tail, key.rpartition("/")[2]).ratio(),
                0.9 if len(tail) >= 3 and tail in key else 0.0,
            )
            if score >= 0.6:
                scores[entry.id] = max(score, scores.get(entry.id, 0.0))
        return tuple(sorted(scores, key=lambda model: (-scores[model], len(model), model))[:limit])


def _short_names(entries: Iterable[CatalogEntry]) -> Mapping[str, CatalogEntry]:
    """Return the last parts of ids (`bge-m3` of `BAAI/bge-m3`) that mean one entry only. People may use them to name
    a model; they are no aliases, and engines do not serve them."""
    found: dict[str, list[CatalogEntry]] = {}
    for entry in entries:
        found.setdefault(entry.id.rpartition("/")[2].casefold(), []).append(entry)
    return {name: group[0] for name, group in found.items() if len(group) == 1}


def merge(catalogs: Iterable[Sequence[CatalogEntry]]) -> Catalog:
    """Return one catalog out of several, the first one named having its way.

    An entry whose id an earlier catalog has is left out; an alias that an earlier entry has (as id or alias) is
    taken off the later entry, so that a name never changes its meaning when a source is added behind the others.
    Ids win over aliases whatever their order.
    """
    kept: dict[str, CatalogEntry] = {}
    for entries in catalogs:
        for entry in entries:
            kept.setdefault(entry.id.casefold(), entry)
    folded = dict(kept)
    for key, entry in kept.items():
        aliases = tuple(a for a in entry.aliases if folded.setdefault(a.casefold(), entry).id == entry.id)
        if aliases != entry.aliases:
            kept[key] = replace(entry, aliases=aliases)
    final = tuple(sorted(kept.values(), key=lambda entry: entry.id.casefold()))
    return Catalog(
        entries=final,
        exact={name: entry for entry in final for name in entry.names},
        folded={**_short_names(final), **{name.casefold(): entry for entry in final for name in entry.names}},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How newer entries differ from those in use, by id, each sorted."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def drift(in_use: Iterable[CatalogEntry], newer: Iterable[CatalogEntry]) -> Drift:
    """Return what `newer` adds, changes and removes. Where an entry came from makes no difference."""
    old = {entry.id: replace(entry, source="") for entry in in_use}
    new = {entry.id: replace(entry, source="") for entry in newer}
    both = old.keys() & new.keys()
    return Drift(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(model for model in both if old[model] != new[model])),
        removed=tuple(sorted(old.keys() - new.keys())),
    )


def encode(entries: Iterable[CatalogEntry], *, generated: str) -> bytes:
    """Return a catalog file with `entries`, indented for people, values at their defaults left out."""
    models = []
    for entry in entries:
        body = cast("dict[str, Any]", msgspec.to_builtins(entry))
        body.pop("source")
        models.append(_without_defaults(body, EntryRecord))
        models[-1]["architecture"] = _without_defaults(body["architecture"], ArchitectureRecord)
    document = {"version": FORMAT_VERSION, "generated": generated, "models": models}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _without_defaults(body: Mapping[str, Any], record: type[msgspec.Struct]) -> dict[str, Any]:
    defaults = {item.name: item.default for item in msgspec.structs.fields(record)}
    return {k: v for k, v in body.items() if (list(d) if isinstance(d := defaults.get(k), tuple) else d) != v}
