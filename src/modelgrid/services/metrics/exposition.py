"""Control's part of `/metrics`, in Prometheus' text format: nodes, GPUs, deployments, engines.

Gateways append it to their own figures, so that one scrape of port 8080 gives all. The labels: `node`, `gpu`,
`deployment` (elsewhere `replica`, which is the same id), `model`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from modelgrid import __version__
from modelgrid.decide.classify import classify
from modelgrid.domain.deployment import Deployment, DeploymentState
from modelgrid.domain.gpu import Gpu
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.node import Node
from modelgrid.domain.target import Target
from modelgrid.services.metrics.engine import EngineFigures, Histogram, Reading

Sample = tuple[Mapping[str, str], float | None]


def exposition(
    *,
    nodes: Sequence[Node],
    targets: Sequence[Target],
    deployments: Sequence[Deployment],
    figures: Mapping[DeploymentId, EngineFigures],
    started_at: float,
    log_problem: bool,
    now: float,
) -> str:
    """Return the text. What is not known has no sample."""
    page = _Page()
    page.family("modelgrid_build_info", "gauge", "Version of ModelGrid.", [({"version": __version__}, 1.0)])
    page.family("modelgrid_control_start_time_seconds", "gauge", "Unix time of control's start.", [({}, started_at)])
    page.family(
        "modelgrid_log_store_healthy", "gauge", "Whether log records are written to disk.",
        [({}, 0.0 if log_problem else 1.0)],
    )  # fmt: skip
    page.family(
        "modelgrid_node_info", "gauge", "Nodes with their status.",
        [({"node": node.name, "role": node.role.value, "status": node.status.value}, 1.0) for node in nodes],
    )  # fmt: skip
    _gpus(page, nodes)
    page.family(
        "modelgrid_target_replicas", "gauge", "Replicas that are desired.",
        [({"target": target.name, "model": target.model}, float(target.replicas)) for target in targets],
    )  # fmt: skip
    _deployments(page, deployments, now)
    _engines(page, deployments, figures)
    return page.text()


def _gpus(page: "_Page", nodes: Sequence[Node]) -> None:
    page.family(
        "modelgrid_gpu_inventory_fresh", "gauge", "Whether the node's GPUs could be read.",
        [({"node": node.name}, 0.0 if node.inventory.stale else 1.0) for node in nodes],
    )  # fmt: skip
    gpus = [(node, gpu) for node in nodes if not node.inventory.stale for gpu in node.inventory.gpus]

    def family(name: str, text: str, values: Iterable[float | None]) -> None:
        labels = [_gpu_labels(node, gpu) for node, gpu in gpus]
        page.family(f"modelgrid_gpu_{name}", "gauge", text, list(zip(labels, values, strict=True)))

    family("memory_total_bytes", "Memory of the GPU.", [float(gpu.vram_total_bytes) for _, gpu in gpus])
    family("memory_used_bytes", "Memory in use, whoever uses it.", [float(gpu.vram_used_bytes) for _, gpu in gpus])
    family("utilization_ratio", "Share of time with work.", [_share(gpu.utilization_percent) for _, gpu in gpus])
    family("temperature_celsius", "Temperature.", [gpu.temperature_celsius for _, gpu in gpus])
    family("power_watts", "Power drawn.", [gpu.power_watts for _, gpu in gpus])
    family(
        "ecc_uncorrected_errors", "Uncorrected memory errors, as the driver counts them.",
        [None if gpu.ecc_uncorrected_errors is None else float(gpu.ecc_uncorrected_errors) for _, gpu in gpus],
    )  # fmt: skip


def _gpu_labels(node: Node, gpu: Gpu) -> Mapping[str, str]:
    return {"node": node.name, "gpu": gpu.id, "name": gpu.name}


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100.0


def _deployments(page: "_Page", deployments: Sequence[Deployment], now: float) -> None:
    states = [(item, classify(item, now).state) for item in deployments]
    page.family(
        "modelgrid_deployments", "gauge", "Deployments by state.",
        [({"state": state.value}, float(sum(s is state for _, s in states))) for state in DeploymentState],
    )  # fmt: skip
    page.family(
        "modelgrid_deployment_info", "gauge", "Deployments with where they are and their present state.",
        [({**_labels(d), "node": d.placement.node if d.placement else "", "state": s.value}, 1.0) for d, s in states],
    )  # fmt: skip
    page.family(
        "modelgrid_deployment_attempts_total", "counter", "Starts of the engine.",
        [(_labels(d), float(d.attempt)) for d in deployments],
    )  # fmt: skip


def _engines(page: "_Page", deployments: Sequence[Deployment], figures: Mapping[DeploymentId, EngineFigures]) -> None:
    asked = [(_labels(d), found) for d in deployments if (found := figures.get(d.id)) is not None]
    page.family(
        "modelgrid_engine_up", "gauge", "Whether the engine gave its metrics.",
        [(labels, 1.0 if found.latest else 0.0) for labels, found in asked],
    )  # fmt: skip
    read: list[tuple[Mapping[str, str], Reading]] = [
        (labels, found.latest) for labels, found in asked if found.latest is not None
    ]

    def family(name: str, kind: str, text: str, values: Iterable[float | None]) -> None:
        page.family(
            f"modelgrid_engine_{name}", kind, text, list(zip([labels for labels, _ in read], values, strict=True))
        )

    family("requests_running", "gauge", "Requests in the engine's batch.", [r.running for _, r in read])
    family("requests_waiting", "gauge", "Requests that wait in the engine.", [r.waiting for _, r in read])
    family("kv_cache_usage_ratio", "gauge", "KV cache in use.", [r.kv_cache_ratio for _, r in read])
    family(
        "kv_cache_blocks", "gauge", "Blocks of the KV cache.",
        [None if r.kv_blocks is None else float(r.kv_blocks) for _, r in read],
    )  # fmt: skip
    family("prompt_tokens_total", "counter", "Tokens read, by the engine's count.", [r.input_tokens for _, r in read])
    family("generation_tokens_total", "counter", "Tokens generated, likewise.", [r.output_tokens for _, r in read])
    page.histogram(
        "modelgrid_engine_time_to_first_token_seconds", "From arrival at the engine to the first token.",
        [(labels, r.first_token) for labels, r in read],
    )  # fmt: skip
    page.histogram(
        "modelgrid_engine_request_duration_seconds", "From arrival at the engine to the last token.",
        [(labels, r.latency) for labels, r in read],
    )  # fmt: skip


def _labels(deployment: Deployment) -> Mapping[str, str]:
    return {"deployment": deployment.id, "model": deployment.model}


class _Page:
    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
        """Add one metric; a sample of `None` is left out."""
        self._lines += (f"# HELP {name} {text}", f"# TYPE {name} {kind}")
        self._lines += [_line(name, labels, value) for labels, value in samples if value is not None]

    def histogram(self, name: str, text: str, samples: Iterable[tuple[Mapping[str, str], Histogram]]) -> None:
        self._lines += (f"# HELP {name} {text}", f"# TYPE {name} histogram")
        for labels, histogram in samples:
            if not histogram.bounds:
                continue
            reached = list(accumulate(histogram.counts))
            for bound, count in zip((*histogram.bounds, math.inf), reached, strict=True):
                shown = "+Inf" if bound == math.inf else f"{bound:g}"
                self._lines.append(_line(f"{name}_bucket", {**labels, "le": shown}, count))
            self._lines.append(_line(f"{name}_sum", labels, histogram.sum))
            self._lines.append(_line(f"{name}_count", labels, reached[-1]))

    def text(self) -> str:
        return "\n".join([*self._lines, ""])


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    named = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{named}}} {value:.15g}" if named else f"{name} {value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
