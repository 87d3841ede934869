"""--config, --state-dir, --url and --token before or after the verb, and nobody else's values among them."""

from pathlib import Path
from typing import Annotated

import pytest
import typer

from modelgrid.cli.main import COMMANDS, app, load
from modelgrid.cli.options import located, new_noun, session_of, verbs
from modelgrid.cli.session import Session


def parse(*arguments: str) -> tuple[Session, list[str]]:
    """Return what a command with an argument and an option of its own was given."""
    seen: list[tuple[Session, list[str]]] = []
    top = typer.Typer(rich_markup_mode=None)

    def start(context: typer.Context) -> None:
        pass

    def go(
        context: typer.Context,
        words: Annotated[list[str] | None, typer.Argument()] = None,
        arg: Annotated[list[str] | None, typer.Option()] = None,
    ) -> None:
        seen.append((session_of(context), [*(words or []), *(arg or [])]))

    top.callback()(located(start, top=True))
    noun = new_noun("A noun.")
    verbs(noun, go=go)
    top.add_typer(noun, name="noun")
    verbs(top, go=go)
    typer.main.get_command(top).main(list(arguments), prog_name="x", standalone_mode=False)
    [found] = seen
    return found


CONFIG = Session(config_path=Path("c"))


@pytest.mark.parametrize(
    ("arguments", "session", "rest"),
    [
        (["--config", "c", "go"], CONFIG, []),
        (["go", "--config", "c"], CONFIG, []),
        (["go", "m", "--config=c", "n"], CONFIG, ["m", "n"]),
        (["noun", "--config", "c", "go"], CONFIG, []),
        (["noun", "go", "--config=c"], CONFIG, []),
        (["--config", "far", "noun", "--config", "near", "go", "--config", "c"], CONFIG, []),
        (["--state-dir", "s", "noun", "go", "--config", "c"], Session(Path("c"), Path("s")), []),
        (["go", "--url", "u", "--token=t"], Session(url="u", token="t"), []),
        (["go", "m", "--arg=--config=x"], Session(), ["m", "--config=x"]),
        (["go", "m", "--arg", "--config=x"], Session(), ["m", "--config=x"]),
        (["go", "m", "--arg", "--config"], Session(), ["m", "--config"]),
        (["go", "--", "--config", "x"], Session(), ["--config", "x"]),
        (["go", "m", "--config", "c", "--", "--url=x"], CONFIG, ["m", "--url=x"]),
        (["go", "--config", "--arg"], Session(config_path=Path("--arg")), []),
    ],
)
def test_options_stand_anywhere(arguments, session, rest):
    assert parse(*arguments) == (session, rest)


def test_the_environment_counts_less_than_the_command_line(monkeypatch):
    monkeypatch.setenv("MODELGRID_CONFIG", "from-environment")
    assert parse("go")[0] == Session(config_path=Path("from-environment"))
    assert parse("--config", "c", "go")[0] == CONFIG
    assert parse("go", "--config", "c")[0] == CONFIG
    assert parse("--config", "c", "noun", "go")[0] == CONFIG


def test_every_command_is_there_and_listed_with_its_own_words():
    top = typer.main.get_command(app)
    for name, (_, text) in COMMANDS.items():
        command = load(name)
        assert command.name == name
        assert (command.help or "").splitlines()[0] == text
    assert list(top.list_commands(typer.Context(top))) == list(COMMANDS)


def test_every_verb_takes_json_but_the_one_that_runs_on():
    without = set()
    for name in COMMANDS:
        leaves = [(name, load(name))]
        while leaves:
            path, command = leaves.pop()
            if hasattr(command, "commands"):
                leaves += [(f"{path} {key}", inner) for key, inner in command.commands.items()]
            elif not any("--json" in param.opts for param in command.params):
                without.add(path)
    assert without == {"up"}
