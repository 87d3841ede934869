"""Domain values with every field set, for the tests of the store."""

from typing import Any

from modelgrid.domain.access import AccessToken, ApiKey, KeyLimits, Role, Session, User
from modelgrid.domain.cluster import JoinToken, Member
from modelgrid.domain.deployment import Deployment, Diagnosis, Failure, Intent
from modelgrid.domain.engine import EngineExit, EngineRef, LogLine
from modelgrid.domain.event import Event, Level, Subject
from modelgrid.domain.gpu import GpuInventory, GpuVendor
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision, MemoryNeed, MemoryTerm, Placement, Verdict
from modelgrid.domain.target import Constraints, EngineSpec, Mount, Origin, RuntimeKind, Target

MODEL = ModelId("meta-llama/Llama-3.1-8B-Instruct")
NODE = NodeName("worker-a")

SPEC = EngineSpec(
    runtime=RuntimeKind.DOCKER,
    image="vllm/vllm-openai:v0.11.0",
    args=("--max-num-seqs", "64"),
    env={"HF_TOKEN": "sealed1.abc", "NAME": "Zoë"},
    gpu_count=2,
    gpus=(GpuId("nvidia-0"), GpuId("nvidia-1")),
    context=8192,
    concurrency=4,
    mounts=(Mount(source="/srv/models", target="/models"),),
)

DECISION = Decision(
    node=NODE,
    gpus=(GpuId("nvidia-0"),),
    need=MemoryNeed(gpu_count=1, terms=(MemoryTerm(name="weights", bytes=16_060_522_496, formula="8.03 B × 2"),)),
    verdicts=(
        Verdict(node=NODE, gpu=GpuId("nvidia-0"), chosen=True, free_bytes=80 * 1024**3, code="chosen", reason="chosen"),
        Verdict(node=NodeName("worker-b"), code="node_cordoned", reason="the node is cordoned"),
    ),
    summary="placed on worker-a nvidia-0",
)


def target(name: str = MODEL, **changes: Any) -> Target:
    values: dict[str, Any] = {
        "name": name,
        "model": MODEL,
        "replicas": 2,
        "origin": Origin.API,
        "spec": SPEC,
        "constraints": Constraints(node=NODE, vendor=GpuVendor.NVIDIA, labels={"zone": "a"}),
        "created_at": 1_760_000_000.125,
        "updated_at": 1_760_000_001.5,
        "updated_by": "admin",
    }
    return Target(**{**values, **changes})


def deployment(deployment_id: str = "llama-3-1-8b-instruct-x7k2p9", **changes: Any) -> Deployment:
    known = DeploymentId(deployment_id)
    failure = Failure(
        attempt=1,
        exit=EngineExit(at=1_760_000_090.0, code=1, out_of_memory=True, error="OCI runtime error"),
        diagnosis=Diagnosis(code="gpu_out_of_memory", cause="no room", remedy="less context", evidence="CUDA OOM"),
    )
    values: dict[str, Any] = {
        "id": known,
        "target": MODEL,
        "model": MODEL,
        "origin": Origin.API,
        "spec": SPEC,
        "runtime": RuntimeKind.DOCKER,
        "created_at": 1_760_000_002.0,
        "intent": Intent.RUN,
        "intent_reason": "scaled up",
        "intent_by": "admin",
        "intent_at": 1_760_000_002.0,
        "placement": Placement(node=NODE, gpus=(GpuId("nvidia-0"),), decision=DECISION, placed_at=1_760_000_003.0),
        "attempt": 2,
        "port": 41_001,
        "engine": EngineRef(
            runtime=RuntimeKind.DOCKER, id="4f1c", deployment=known, attempt=2, url="http://127.0.0.1:41001"
        ),
        "started_at": 1_760_000_100.0,
        "failures": (failure,),
    }
    return Deployment(**{**values, **changes})


def record(deployment_id: str = "llama-3-1-8b-instruct-x7k2p9", **changes: Any) -> HistoryRecord:
    values: dict[str, Any] = {
        "deployment": deployment(deployment_id, intent=Intent.REMOVE, revision=7),
        "ended_at": 1_760_001_000.0,
        "reason": "removed",
        "by": "admin",
        "last_lines": (
            LogLine(at=1.0, stream="stdout", text="hello"),
            LogLine(at=2.0, stream="stderr", text="\x1b[31mé"),
        ),
    }
    return HistoryRecord(**{**values, **changes})


def event(kind: str = "scheduled", **changes: Any) -> Event:
    values: dict[str, Any] = {
        "at": 1_760_000_000.0,
        "subject": Subject.DEPLOYMENT,
        "subject_id": "llama-3-1-8b-instruct-x7k2p9",
        "kind": kind,
        "message": "placed on worker-a",
        "level": Level.WARNING,
        "by": "admin",
        "data": {"gpus": ["nvidia-0"], "free": 80 * 1024**3, "nested": {"ok": True, "none": None}},
    }
    return Event(**{**values, **changes})


def api_key(key_id: str = "k1", **changes: Any) -> ApiKey:
    values: dict[str, Any] = {
        "id": key_id,
        "label": "ci",
        "prefix": "mg-abcde",
        "digest": key_id.rjust(64, "0"),
        "created_at": 1_760_000_000.0,
        "expires_at": 1_790_000_000.0,
        "limits": KeyLimits(models=(MODEL,), requests_per_minute=60, concurrent_requests=4),
    }
    return ApiKey(**{**values, **changes})


def user(name: str = "admin", **changes: Any) -> User:
    values: dict[str, Any] = {
        "name": name,
        "password_hash": "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        "must_change_password": True,
        "password_expires_at": 1_760_086_400.0,
        "updated_at": 1_760_000_000.0,
    }
    return User(**{**values, **changes})


def session(session_id: str = "session-1", **changes: Any) -> Session:
    values: dict[str, Any] = {
        "id": session_id,
        "digest": session_id.rjust(64, "0"),
        "user": "admin",
        "created_at": 1_760_000_000.0,
        "last_seen_at": 1_760_000_100.0,
        "expires_at": 1_760_043_200.0,
        "must_change_password": True,
        "source": "203.0.113.9",
        "agent": "Mozilla/5.0",
    }
    return Session(**{**values, **changes})


def access_token(token_id: str = "token-1", **changes: Any) -> AccessToken:
    values: dict[str, Any] = {
        "id": token_id,
        "label": "ci",
        "prefix": "mgt-abcde",
        "digest": token_id.rjust(64, "0"),
        "role": Role.VIEWER,
        "created_at": 1_760_000_000.0,
        "created_by": "admin",
        "expires_at": 1_790_000_000.0,
    }
    return AccessToken(**{**values, **changes})


def member(name: str = "worker-a", **changes: Any) -> Member:
    values: dict[str, Any] = {
        "name": NodeName(name),
        "joined_at": 1_760_000_000.0,
        "peer_url": "https://192.0.2.7:8083",
        "cluster_url": "https://192.0.2.7:8082",
        "certificate": "-----BEGIN CERTIFICATE-----",
        "digest": name.rjust(64, "0"),
        "node": Node(name=NodeName(name), inventory=GpuInventory(taken_at=1.0)),
    }
    return Member(**{**values, **changes})


def join_token(token_id: str = "join-1", **changes: Any) -> JoinToken:
    values: dict[str, Any] = {
        "id": token_id,
        "digest": token_id.rjust(64, "0"),
        "created_at": 1_760_000_000.0,
        "created_by": "admin",
        "expires_at": 1_760_000_900.0,
    }
    return JoinToken(**{**values, **changes})
