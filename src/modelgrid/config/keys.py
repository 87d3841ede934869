"""Which keys of `config.json` a running daemon takes over, and which need a restart. One table; a test holds it to the
model. A key is a setting that is changed as a whole: lists and maps are one key each."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from modelgrid.config.model import Config, Section


class Applies(StrEnum):
    LIVE = "live"
    """Holds from the moment the file is written."""
    RESTART = "restart"
    """Holds from the next restart of the daemon."""


APPLIES: Mapping[str, Applies] = {
    "nodeName": Applies.RESTART,
    "logLevel": Applies.LIVE,
    "api.port": Applies.RESTART,
    "api.host": Applies.RESTART,
    "api.uiPort": Applies.RESTART,
    "api.uiHost": Applies.RESTART,
    "api.uiHosts": Applies.LIVE,
    "api.workers": Applies.RESTART,
    "api.cors": Applies.LIVE,
    "api.rateLimit": Applies.LIVE,
    "api.queueLimit": Applies.LIVE,
    "api.tls": Applies.RESTART,
    "api.auditDays": Applies.LIVE,
    "api.auditEntries": Applies.LIVE,
    "docker.runtime": Applies.RESTART,
    "docker.networkName": Applies.RESTART,
    "docker.socketPath": Applies.RESTART,
    "docker.image": Applies.LIVE,
    "docker.imageCommands": Applies.LIVE,
    "docker.shmGib": Applies.LIVE,
    "docker.modelCacheDir": Applies.RESTART,
    "docker.allowedMounts": Applies.RESTART,
    "docker.vllmPath": Applies.RESTART,
    "gpus.autoDetect": Applies.RESTART,
    "gpus.assignments": Applies.LIVE,
    "gpus.simulate": Applies.RESTART,
    "models.registryUrl": Applies.LIVE,
    "models.sources": Applies.LIVE,
    "models.autoDeploy": Applies.LIVE,
    "models.defaultEngine": Applies.RESTART,
    "models.autoLoad": Applies.LIVE,
    "containers": Applies.LIVE,
    "cluster.role": Applies.RESTART,
    "cluster.host": Applies.RESTART,
    "cluster.port": Applies.RESTART,
    "cluster.peerPort": Applies.RESTART,
    "cluster.labels": Applies.RESTART,
    "cluster.advertiseUrl": Applies.RESTART,
    "cluster.controlPlaneUrl": Applies.RESTART,
    "cluster.sharedSecret": Applies.RESTART,
    "cluster.heartbeatInterval": Applies.RESTART,
    "cluster.seeds": Applies.RESTART,
}

LIVE_KEYS = frozenset(key for key, applies in APPLIES.items() if applies is Applies.LIVE)

NO_REGISTRY = ("models.registryUrl", "")
"""The one key whose null is not its default: in a patch, where null means the default, this text says null."""


def model_keys(section: type[Section] = Config, above: str = "") -> Iterator[str]:
    """Yield every key of the model by its dotted path in the file."""
    for name, field in section.model_fields.items():
        path = f"{above}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from model_keys(field.annotation, f"{path}.")
        else:
            yield path


def value_at(document: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key in a resolved document, which has them all."""
    value: Any = document
    for part in key.split("."):
        value = value[part]
    return value
