"""The configuration: what the file says, what holds, and changing it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, RootModel

from modelgrid.api.context import Caller, Context
from modelgrid.api.preconditions import IfMatch, set_etag
from modelgrid.config.change import Change, resolved
from modelgrid.config.keys import APPLIES, Applies, value_at
from modelgrid.config.model import Config, json_schema, redacted
from modelgrid.config.paths import usual_config_path
from modelgrid.services.settings import SettingsService

router = APIRouter(tags=["config"])


class ConfigChange(BaseModel):
    path: str
    """Dotted path of a key; lists and maps are one key each."""
    before: Any
    after: Any
    """Secrets are redacted: a changed one reads the same before and after."""
    restart_required: bool


class ConfigProblem(BaseModel):
    path: str
    message: str
    value: str
    """As it was found, as JSON."""
    expected: str


class ConfigView(BaseModel):
    path: str
    """Of the file on the daemon's machine."""
    usual_path: bool
    """Whether it is where commands look for it there; another is named with `--config`."""
    source: str
    """`file`, or `defaults` while there is none."""
    etag: str
    config: dict[str, Any]
    """Of the file, with defaults and without secrets. Where something else holds, `pending_restart` says so."""
    defaults: dict[str, Any]
    """By key."""
    applies: dict[str, Applies]
    """By key: whether a change holds at once or from the next restart."""
    pending_restart: list[ConfigChange]
    """What the file says and does not hold yet: `before` is running, `after` is in the file."""
    problem: str
    """Why the file is refused as it is; the last good configuration holds and is shown. Empty when all is well."""
    errors: list[ConfigProblem]
    """The same, by key."""


class ConfigPatch(RootModel[dict[str, Any]]):
    """A JSON merge patch (RFC 7396) of config.json: what is left out stays, null puts back the default, lists are
    replaced whole. A redacted placeholder keeps the secret it stands for. An empty `models.registryUrl` means none."""


class ConfigPatched(BaseModel):
    config: dict[str, Any]
    diff: list[ConfigChange]
    """Against the file as it was."""
    pending_restart: list[ConfigChange]
    etag: str
    """Of the file now; with `dry_run` unchanged."""
    dry_run: bool


def _shown(changes: Sequence[Change]) -> list[ConfigChange]:
    return [
        ConfigChange(path=c.path, before=c.before, after=c.after, restart_required=c.restart_required) for c in changes
    ]


def _pending(changes: Sequence[Change]) -> list[ConfigChange]:
    return _shown([change for change in changes if change.restart_required])


def _by_key(config: Config) -> Mapping[str, Any]:
    document = resolved(config)
    return {key: value_at(document, key) for key in APPLIES}


def config_view(settings: SettingsService) -> ConfigView:
    """Return what the configuration is, as it was last looked at."""
    return ConfigView(
        path=str(settings.path),
        usual_path=settings.path == usual_config_path(),
        source="file" if settings.exists else "defaults",
        etag=settings.etag,
        config=redacted(resolved(settings.config)),
        defaults=dict(_by_key(Config())),  # type: ignore[call-arg]
        applies=dict(APPLIES),
        pending_restart=_pending(settings.pending()),
        problem=settings.problem,
        errors=[ConfigProblem(**error) for error in settings.errors],
    )


@router.get("/config")
async def show_config(services: Context, response: Response) -> ConfigView:
    """Return the configuration with defaults, where it came from and what waits for a restart, secrets redacted."""
    await services.settings.look()
    set_etag(response, services.settings.etag)
    return config_view(services.settings)


@router.patch("/config")
async def patch_config(
    services: Context,
    caller: Caller,
    body: ConfigPatch,
    response: Response,
    condition: IfMatch,
    dry_run: bool = False,
) -> ConfigPatched:
    """Change config.json and apply what can be applied at once; with `dry_run` only tell what would change.

    The file is checked whole before it is written; `details.errors` of a refusal has the keys that are wrong."""
    etags = condition.etags if condition else None
    done = await services.settings.patch(body.root, by=caller, etags=etags, dry_run=dry_run)
    set_etag(response, done.etag)
    return ConfigPatched(
        config=redacted(resolved(done.config)),
        diff=_shown(done.diff),
        pending_restart=_pending(done.pending),
        etag=done.etag,
        dry_run=dry_run,
    )


class Restart(BaseModel):
    started_at: float
    """When the process that answers was started. It is over when `GET overview` says a later time."""
    pending_restart: list[ConfigChange]
    """What will hold then."""


@router.post("/daemon/restart", status_code=202)
async def restart_daemon(services: Context, caller: Caller) -> Restart:
    """Restart control and replace the gateways one for one, without losing a request; engines run on.

    Refused with 409 where the daemon would not come up again. Goes on after the answer."""
    pending = await services.restart.restart(by=caller)
    return Restart(started_at=services.started_at, pending_restart=_pending(pending))


@router.get("/config/schema")
async def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of config.json."""
    return json_schema()
