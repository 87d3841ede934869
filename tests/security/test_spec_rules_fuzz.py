"""Whatever strings are thrown at a spec: each is refused with `InvalidInput`, or it is harmless. Never another error.

The harm looked for: an image that reads as an option, an argument that sets what ModelGrid owns under any spelling
vLLM's parser accepts, a variable that changes the loader."""

import argparse
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelgrid.decide.spec_rules import (
    check_args,
    check_env,
    check_image,
    check_mounts,
    check_name,
    check_spec,
    check_url,
)
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.target import EngineSpec, Mount

PIECES = st.sampled_from(
    [
        "-", "--", "/", "..", ":", "@", "=", " ", "\n", "\0", "$(touch canary)", "`id`", ";", "|", "&&", "'", '"',
        "vllm/vllm-openai", "latest", "sha256:", "--privileged", "--host", "--trust-remote-code", "host", "trust",
        "remote", "_", "LD_PRELOAD", "PATH", "é", "\u202e", "\ud800", "%", "A", "a", "1",
    ]
)  # fmt: skip
HOSTILE = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=8).map("".join))
REFERENCE = re.compile(
    r"(?:(?:[A-Za-z0-9.-]+|\[[a-fA-F0-9:]+\])(?::\d+)?/)?[a-z0-9._-]+(?:/[a-z0-9._-]+)*(?::[\w.-]+)?(?:@\w+:[a-f0-9]+)?"
)


def accepted(check: object, *values: object) -> bool:
    try:
        check(*values)  # type: ignore[operator]
    except InvalidInput as error:
        refusal = error
    else:
        return True
    assert refusal.details["path"]
    assert refusal.fix
    assert "expected" in refusal.details
    return False


@settings(max_examples=500)
@given(HOSTILE)
def test_an_accepted_image_is_a_reference_and_no_option(text: str) -> None:
    if accepted(check_image, text):
        assert not text.startswith("-")
        assert REFERENCE.fullmatch(text)
        assert ".." not in re.split("[/:@]", text), "a tag may have two dots, but no part of a path is only those"


def vllm_like_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_argument("model_tag", nargs="?")
    for option in ("--host", "--port", "--served-model-name", "--tensor-parallel-size", "--max-model-len", "--config"):
        parser.add_argument(option, default="ours")
    for option in ("--gpu-memory-utilization", "--api-key", "--middleware", "--download-dir", "--uds", "--root-path"):
        parser.add_argument(option, default="ours")
    parser.add_argument("--trust-remote-code", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--seed")
    parser.add_argument("--reasoning-parser")
    parser.add_argument("--enforce-eager", action="store_true")
    return parser


@settings(max_examples=1000)
@given(st.lists(st.one_of(HOSTILE, st.text("-_abcdeghilmnoprstuvzTRUST=", max_size=24)), max_size=5))
@example(["--trust_remote_code"])
@example(["--trust-remote"])
@example(["--seed", "--host"])
@example(["--seed", "1", "--hos=0.0.0.0"])
def test_accepted_arguments_set_nothing_of_ours_under_any_spelling(args: list[str]) -> None:
    if not accepted(check_args, args):
        return
    # vLLM turns underscores into dashes before argparse sees the arguments.
    dashed = [
        name.replace("_", "-") + sign + value if arg.startswith("--") else arg
        for arg in args
        for name, sign, value in [arg.partition("=")]
    ]
    try:
        given_, _ = vllm_like_parser().parse_known_args(["model", *dashed])
    except (argparse.ArgumentError, SystemExit):
        return
    ours = {
        name: value for name, value in vars(given_).items() if name not in {"seed", "reasoning_parser", "model_tag"}
    }
    assert set(ours.values()) <= {"ours", False, True}
    assert not given_.trust_remote_code
    assert given_.model_tag == "model"


@settings(max_examples=500)
@given(st.dictionaries(HOSTILE, HOSTILE, max_size=3))
def test_accepted_variables_are_plain_and_leave_the_loader_alone(env: dict[str, str]) -> None:
    if accepted(check_env, env):
        for name, value in env.items():
            assert re.fullmatch(r"[A-Z_][A-Z0-9_]*", name)
            assert not name.startswith(("LD_", "MODELGRID_"))
            assert name != "PATH"
            assert "\0" not in value


@settings(max_examples=500)
@given(HOSTILE, HOSTILE)
def test_accepted_mounts_are_normal_absolute_paths(source: str, target: str) -> None:
    if accepted(check_mounts, [Mount(source=source, target=target)]):
        for path in (source, target):
            assert path.startswith("/")
            assert not {"", ".", ".."} & set(path[1:].split("/"))


@settings(max_examples=500)
@given(HOSTILE)
def test_names_and_urls_never_break_the_rules_themselves(text: str) -> None:
    if accepted(lambda value: check_name(value, path="name"), text):
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", text)
    accepted(check_url, text)
    accepted(check_url, f"http://{text}")


@settings(max_examples=300)
@given(st.builds(EngineSpec, image=HOSTILE, args=st.lists(HOSTILE, max_size=3).map(tuple), url=HOSTILE))
def test_whole_specs(spec: EngineSpec) -> None:
    accepted(check_spec, spec)


@pytest.mark.parametrize(
    "text", ["a" * 511 + "!", "a-" * 255 + "!", "a." * 255, ("a" * 30 + "/") * 16, "0" * 400 + "/:"]
)
def test_long_hostile_references_are_judged_at_once(text: str) -> None:
    import time

    begin = time.perf_counter()
    accepted(check_image, text)
    assert time.perf_counter() - begin < 0.2
