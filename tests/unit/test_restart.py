from dataclasses import replace
from itertools import pairwise

from modelgrid.decide.restart import (
    EXTERNAL_DELAY_SECONDS,
    GIVE_UP_AFTER,
    LONGEST_DELAY_SECONDS,
    STABLE_SECONDS,
    failures_after,
    restart,
)
from modelgrid.domain.deployment import Deployment, Diagnosis, Failure
from modelgrid.domain.engine import EngineExit
from modelgrid.domain.ids import DeploymentId, ModelId
from modelgrid.domain.target import Origin, RuntimeKind


def failed(times: int, **changes: object) -> Deployment:
    base = Deployment(
        id=DeploymentId("qwen-abc123"),
        target="qwen",
        model=ModelId("qwen"),
        origin=Origin.API,
        runtime=RuntimeKind.PROCESS,
        created_at=0.0,
        attempt=times,
        failures=tuple(Failure(attempt=n, exit=EngineExit(at=1000.0 * n, code=1)) for n in range(1, times + 1)),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def delay(deployment: Deployment) -> float:
    decision = restart(deployment)
    assert decision.at is not None
    return decision.at - deployment.failures[-1].exit.at


def test_delays_double_and_stay_below_the_cap() -> None:
    delays = [delay(failed(times)) for times in range(1, GIVE_UP_AFTER)]
    assert 1.6 <= delays[0] <= 2.4
    assert all(later > earlier for earlier, later in pairwise(delays))
    assert max(delays) <= LONGEST_DELAY_SECONDS


def test_delays_of_two_deployments_differ() -> None:
    assert delay(failed(3)) != delay(failed(3, id=DeploymentId("other-abc123")))


def test_it_is_given_up_after_the_last_try_with_the_count_in_the_reason() -> None:
    decision = restart(failed(GIVE_UP_AFTER))
    assert decision.at is None
    assert str(GIVE_UP_AFTER) in decision.reason


def test_what_cannot_help_is_given_up_at_once() -> None:
    diagnosis = Diagnosis(code="gated", cause="The repository is gated.", remedy="Set HF_TOKEN.", retry=False)
    once = failed(1)
    decision = restart(replace(once, failures=(replace(once.failures[0], diagnosis=diagnosis),)))
    assert decision.at is None
    assert "gated" in decision.reason


def test_an_external_engine_is_never_given_up() -> None:
    assert delay(failed(50, runtime=RuntimeKind.EXTERNAL)) == EXTERNAL_DELAY_SECONDS


def test_a_stable_run_clears_the_failures_before_it() -> None:
    earlier = failed(5).failures
    new = Failure(attempt=6, exit=EngineExit(at=10_000.0, signal=9))
    assert failures_after(earlier, new, ready_at=10_000.0 - STABLE_SECONDS) == (new,)
    assert failures_after(earlier, new, ready_at=10_000.0 - STABLE_SECONDS + 1) == (*earlier, new)
    assert failures_after(earlier, new, ready_at=None) == (*earlier, new)
