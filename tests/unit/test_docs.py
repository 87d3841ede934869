"""The documentation says what the code does: links lead somewhere, commands, keys, models and bounds exist."""

import asyncio
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from modelgrid.adapters.catalog_packaged import PackagedCatalogSource
from modelgrid.cli.main import COMMANDS, app, load
from modelgrid.config.model import Config, Section
from modelgrid.decide import classify, lifecycle
from modelgrid.decide.catalog import Catalog, merge
from modelgrid.decide.failure_rules import RULES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.md"), *ROOT.glob("tests/**/*.md")])
GUIDES = sorted([ROOT / "README.md", *ROOT.glob("docs/operate/*.md"), *ROOT.glob("docs/architecture/*.md")])
"""Written by hand for people who run ModelGrid; everything in them is looked at."""

FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4,}[^\n]+\n)+)")
INLINE = re.compile(r"`([^`\n]+)`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
each_guide = pytest.mark.parametrize("page", GUIDES, ids=name_of)


# Generated pages


@cache
def generator() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page",
    ["reference/cli.md", "reference/config.md", "reference/api.md", "reference/diagnoses.md", "decisions/README.md"],
)
def test_a_generated_page_is_what_the_code_gives(page: str) -> None:
    path = ROOT / "docs" / page
    text = generator().pages()[path]
    written = path.read_text() if path.exists() else ""
    assert written == text, f"docs/{page} has fallen behind the code. Write it anew with: make docs"


@pytest.mark.parametrize("module", ["calls.py", "views.py"])
def test_the_client_is_what_the_document_gives(module: str) -> None:
    path = ROOT / "src/modelgrid/client" / module
    text = generator().client()[path]
    written = path.read_text() if path.exists() else ""
    assert written == text, f"{path.name} of the client has fallen behind the API. Write it anew with: make docs"


def test_every_diagnosis_has_a_row() -> None:
    text = (ROOT / "docs/reference/diagnoses.md").read_text()
    missing = [rule.code for rule in RULES if f"| `{rule.code}` |" not in text]
    assert not missing, "Known failures without a row. Run: make docs"


def test_troubleshooting_names_only_diagnoses_that_exist() -> None:
    section = (ROOT / "docs/operate/troubleshooting.md").read_text().partition("## Known engine failures")[2]
    named = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\|([^|]*)\|", section.partition("\n## ")[0], re.M))))
    assert named
    assert named <= {rule.code for rule in RULES}


def test_a_decision_is_headed_by_its_number() -> None:
    for page in sorted((ROOT / "docs/decisions").glob("0*.md")):
        assert page.read_text().startswith(f"# {page.name[:4]}: "), page.name


# Links


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-") for title in titles}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = INLINE.sub("", FENCE.sub("", page.read_text()))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        if not path.exists() or not path.is_relative_to(ROOT) or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert not broken, f"links of {name_of(page)} that lead nowhere"


@pytest.mark.parametrize("folder", ["docs/architecture", "docs/operate"])
def test_every_page_is_listed_in_its_folder(folder: str) -> None:
    index = (ROOT / folder / "README.md").read_text()
    unlisted = [path.name for path in (ROOT / folder).glob("*.md") if f"({path.name})" not in index]
    assert unlisted == ["README.md"]


# Commands


def _blocks(text: str) -> Iterator[str]:
    for match in FENCE.finditer(text):
        if match[2] in ("", "sh", "bash", "console"):
            yield match[3]
    for match in INDENTED.finditer(FENCE.sub("", text)):
        yield match[1]


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each `modelgrid …` of one shell line; output of commands yields nothing."""
    line = line.strip().removeprefix("$ ").removeprefix("# ")
    for part in re.split(r"\|\||&&|[|;]|\$\(", line):
        words = part.strip().rstrip(")").split()
        while words and (words[0] in ("sudo", "exec") or re.fullmatch(r"[A-Z_]+=\S*", words[0])):
            words = words[1:]
        if words and (words[0] == "modelgrid" or words[0].endswith("bin/modelgrid")):
            yield shlex.split(part[part.index("modelgrid") :].rstrip(")"), comments=True)[1:]


def block_commands(page: Path) -> list[list[str]]:
    return [
        arguments
        for block in _blocks(page.read_text())
        for line in re.sub(r"\\\n\s*", " ", block).splitlines()
        for arguments in _commands(line)
    ]


def inline_commands(page: Path) -> list[list[str]]:
    text = FENCE.sub("", page.read_text())
    return [arguments for code in INLINE.findall(text) for arguments in _commands(code)]


def _options(command: Any) -> set[str]:
    return {"--help", "-h"} | {name for item in command.params for name in (*item.opts, *item.secondary_opts)}


@cache
def tree() -> tuple[Any, dict[str, Any]]:
    """Return the top of the command line and its commands."""
    return typer.main.get_command(app), {name: load(name) for name in COMMANDS}


def find_command(arguments: list[str]) -> tuple[list[str], Any, list[str]]:
    """Return the words that name the command, the command, and the arguments that follow."""
    top, children = tree()
    path: list[str] = []
    command = top
    rest = list(arguments)
    while rest and rest[0] in ("--config", "--state-dir", "--url", "--token"):
        rest = rest[2:]
    while children is not None and rest and not rest[0].startswith("-"):
        if rest[0] == "…":
            return path, command, []
        assert rest[0] in children, f"there is no command `modelgrid {' '.join([*path, rest[0]])}`"
        path.append(rest[0])
        command = children[rest[0]]
        rest = rest[1:]
        children = getattr(command, "commands", None)  # type: ignore[assignment]
    return path, command, rest


def check_parses(arguments: list[str]) -> None:
    path, command, rest = find_command(arguments)
    top = {name for item in tree()[0].params for name in item.opts}
    kept = []
    words = iter(rest)
    for word in words:
        if word in ("--config", "--state-dir", "--url", "--token"):
            next(words)
        else:
            kept.append(word)
    if not path or set(kept) & {"--help", "-h", "--version"}:
        unknown = {word for word in kept if word.startswith("-")} - top - {"--help", "-h"}
        assert not unknown
        return
    try:
        command.make_context(" ".join(path), kept)
    except typer.TyperException as error:
        raise AssertionError(f"`modelgrid {' '.join(arguments)}` is refused: {error.format_message()}") from error


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "reference" not in page.parts and block_commands(page)], ids=name_of
)
def test_commands_in_code_blocks_parse(page: Path) -> None:
    for arguments in block_commands(page):
        check_parses(arguments)


@pytest.mark.parametrize("page", [page for page in PAGES if inline_commands(page)], ids=name_of)
def test_commands_in_prose_exist_with_their_options(page: Path) -> None:
    for arguments in inline_commands(page):
        _, command, rest = find_command(arguments)
        top = {name for item in tree()[0].params for name in item.opts}
        named = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        unknown = named - _options(command) - top
        assert not unknown, f"`modelgrid {' '.join(arguments)}`"


def test_a_wrong_command_is_noticed() -> None:
    """The checks above are able to fail."""
    for wrong in (["nonsense"], ["run"], ["run", "m", "--no-such-option"], ["config", "apikey", "generate"]):
        with pytest.raises(AssertionError):
            check_parses(wrong)
    check_parses(["run", "m", "--state-dir", "/tmp/x", "--arg=--port=1"])


@each_guide
def test_models_that_are_run_are_in_the_catalog(page: Path) -> None:
    for arguments in [*block_commands(page), *inline_commands(page)]:
        path, _, rest = find_command(arguments)
        if (
            path in (["run"], ["model", "show"])
            and rest
            and not rest[0].startswith("-")
            and rest[0] not in ("MODEL", "…")
        ):
            assert packaged_catalog().find(rest[0]) is not None, rest[0]


@cache
def packaged_catalog() -> Catalog:
    return merge([asyncio.run(PackagedCatalogSource().load())])


@each_page
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    codes = [
        *INLINE.findall(page.read_text()),
        *(line.strip() for block in _blocks(page.read_text()) for line in block.splitlines()),
    ]
    named = {match[1] for code in codes if (match := re.match(r"(?:\S+ && )?make ([a-z-]+)", code))}
    assert named <= targets


# config.json


def _json_blocks(page: Path) -> Iterator[tuple[str, Any]]:
    for match in FENCE.finditer(page.read_text()):
        if match[2] == "json" and "…" not in match[3]:
            yield match[3], json.loads(match[3])


def _keys_of_the_file() -> frozenset[str]:
    return frozenset(Config.model_json_schema(by_alias=True)["properties"])


@each_guide
def test_configuration_in_json_blocks_is_accepted(page: Path) -> None:
    for text, document in _json_blocks(page):
        if set(document) & _keys_of_the_file() and "version" not in document:
            Config.model_validate_json(text)


def test_configuration_pages_have_configuration_blocks() -> None:
    for name in ("configuration.md", "tls.md"):
        blocks = list(_json_blocks(ROOT / "docs/operate" / name))
        assert blocks
        for text, _ in blocks:
            Config.model_validate_json(text)


def _exists(dotted: str) -> bool:
    model: Any = Config
    for part in dotted.split("."):
        if not (isinstance(model, type) and issubclass(model, Section)):
            return True
        field = next((f for f in model.model_fields.values() if f.alias == part.removesuffix("[]")), None)
        if field is None:
            return False
        model = next((item for item in _types(field.annotation) if isinstance(item, type)), None)
    return True


def _types(annotation: Any) -> Iterator[Any]:
    inner = getattr(annotation, "__args__", None)
    if inner is None:
        yield annotation
        return
    found = [item for part in inner for item in _types(part)]
    yield from sorted(found, key=lambda item: not (isinstance(item, type) and issubclass(item, Section)))


SECTIONS = "api|docker|gpus|models|containers|cluster"
KEY = re.compile(rf"(?<![\w./-])((?:{SECTIONS})(?:\[\])?\.[a-zA-Z]+(?:\.[a-zA-Z]+)*)(?![\w/(-])")


@each_page
def test_configuration_keys_that_are_named_exist(page: Path) -> None:
    named = {key for code in INLINE.findall(page.read_text()) for key in KEY.findall(code)}
    unknown = sorted(key for key in named if not _exists(key) and not key.endswith((".md", ".py", ".json")))
    assert not unknown


def test_a_wrong_key_is_noticed() -> None:
    assert _exists("docker.shmGib")
    assert _exists("containers[].mounts")
    assert _exists("api.tls.certFile")
    assert not any(map(_exists, ["docker.shmBytes", "models.autoload", "api.tls.cert", "containers[].gpu"]))


def test_configuration_keys_in_remedies_exist() -> None:
    words = [
        word for rule in RULES for text in (rule.cause, rule.remedy, rule.remedy_else) for word in KEY.findall(text)
    ]
    assert words
    assert [word for word in words if not _exists(word)] == []


def test_commands_in_remedies_exist() -> None:
    for rule in RULES:
        for code in INLINE.findall(f"{rule.remedy} {rule.remedy_else}"):
            for arguments in _commands(code):
                check_parses(arguments)


# Design tables


def test_bounds_are_those_of_the_code() -> None:
    text = (ROOT / "docs/architecture/lifecycle.md").read_text()
    rows = re.findall(r"^\| `(modelgrid[\w.]+)\.([A-Z_]+)` \| ([\d.]+) \|", text, re.MULTILINE)
    assert len(rows) > 10
    for module, name, value in rows:
        assert getattr(import_module(module), name) == float(value), f"{module}.{name}"


def _numbered(section: str, column: int) -> list[str]:
    text = (ROOT / "src/modelgrid/decide/lifecycle.md").read_text()
    part = text.partition(f"## `{section}`")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in part.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row[1]) for row in rows] == list(range(1, len(rows) + 1))
    return [row[column].strip() for row in rows]


def test_the_table_of_states_has_the_rules_in_their_order() -> None:
    assert _numbered("classify", 2) == [f"`{rule.state.value}`" for rule in classify._RULES]


def test_the_table_of_steps_names_every_step() -> None:
    named = {word for cell in _numbered("next_step", 2) for word in INLINE.findall(cell)}
    assert named == {step.value for step in lifecycle.Step}


@pytest.mark.parametrize(("page", "least"), [("gateway", 25), ("attacks", 40)])
def test_the_tests_that_hold_what_is_promised_exist(page: str, least: int) -> None:
    text = (ROOT / f"docs/architecture/{page}.md").read_text()
    rows = re.findall(r"^\| .+ \| `(tests/\S+\.py)` `(test_\w+)` \|$", text, re.MULTILINE)
    assert len(rows) >= least
    missing = [name for path, name in rows if f"def {name}(" not in (ROOT / path).read_text()]
    assert not missing, f"docs/architecture/{page}.md names tests that are not there: {missing}"
