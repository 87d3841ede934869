"""What becomes of a request that another node's gateway refused."""

import ast
from pathlib import Path

import pytest

import modelgrid.gateway
from modelgrid.decide.hop import Step, after_refusal

HAD_BY_AN_ENGINE = ("replica_failed", "gateway_restarting")
ABOUT_THE_REQUEST = ("invalid_body", "body_too_large", "malformed_request", "not_found", "method_not_allowed")


@pytest.mark.parametrize("code", [*HAD_BY_AN_ENGINE, *ABOUT_THE_REQUEST, "", "of_a_newer_version"])
@pytest.mark.parametrize("alternative", [True, False])
def test_what_an_engine_may_have_had_and_what_is_not_known_is_the_clients_answer(code: str, alternative: bool) -> None:
    assert after_refusal(code, alternative=alternative) is Step.RELAY


@pytest.mark.parametrize("code", ["queue_full", "overloaded"])
def test_no_place_is_asked_elsewhere_where_there_is_an_elsewhere(code: str) -> None:
    assert after_refusal(code, alternative=True) is Step.ANOTHER
    assert after_refusal(code, alternative=False) is Step.RELAY


@pytest.mark.parametrize("code", ["invalid_api_key", "starting", "model_not_found", "model_not_running"])
def test_a_gateway_that_cannot_serve_it_is_left_in_any_case(code: str) -> None:
    for alternative in (True, False):
        assert after_refusal(code, alternative=alternative) is Step.ELSEWHERE


def test_the_codes_are_those_that_gateways_use() -> None:
    said = {
        node.value
        for path in Path(modelgrid.gateway.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    codes = {
        "queue_full", "overloaded", "invalid_api_key", "starting", "model_not_found", "model_not_running",
        "model_removed", "model_unreachable", *HAD_BY_AN_ENGINE, *ABOUT_THE_REQUEST,
    }  # fmt: skip
    assert codes <= said
