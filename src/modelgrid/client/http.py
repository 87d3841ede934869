"""One method per call of the console API. Blocking; answers are the API's JSON objects."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from modelgrid.domain.errors import (
    Conflict,
    DaemonUnreachable,
    Forbidden,
    InvalidConfig,
    InvalidInput,
    LaunchRefused,
    ModelGridError,
    NotFound,
    PreconditionFailed,
    RuntimeUnavailable,
    StorageFull,
    StoreUnavailable,
    Unauthenticated,
)

PREFIX = "/v1/_ui"
ENDPOINT_FILE = "run/endpoint.json"
"""Below the state directory: where the daemon answers, written by it at start."""
TOKEN_FILE = "token"  # noqa: S105  a file name
"""Below the state directory: the local operator's credential, readable by the daemon's user only."""

_ERRORS: Mapping[str, type[ModelGridError]] = {
    error.code: error
    for error in (
        InvalidInput, InvalidConfig, LaunchRefused, Unauthenticated, Forbidden, NotFound, Conflict, PreconditionFailed,
        StorageFull, StoreUnavailable, RuntimeUnavailable,
    )
}  # fmt: skip


def local_client(state_dir: Path, *, timeout_seconds: float = 60.0) -> "ModelGridClient":
    """Return a client of the daemon that runs on this machine with `state_dir`.

    The daemon is at an address of this machine, which no certificate names: none is checked.
    Raises `DaemonUnreachable` when none has been started there, or its token cannot be read."""
    try:
        token = (state_dir / TOKEN_FILE).read_text().strip()
        url = json.loads((state_dir / ENDPOINT_FILE).read_text())["url"]
    except FileNotFoundError:
        raise DaemonUnreachable(
            f"No daemon has been started with the state directory {state_dir}.",
            fix="Start one with `modelgrid up` or `modelgrid service start`, or name another with --state-dir.",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not isinstance(error, PermissionError):
            raise DaemonUnreachable(
                f"What a daemon wrote down in {state_dir} cannot be read: {error}.",
                fix="Restart it with this state directory, or name another with --state-dir.",
            ) from error
        raise DaemonUnreachable(
            f"The daemon's token in {state_dir} can be read by its own user only.",
            fix="Run this as that user, for example with sudo, or use --url and --token.",
        ) from None
    return ModelGridClient(url, token, timeout_seconds=timeout_seconds, verify=False)


class ModelGridClient:
    """Raises the `ModelGridError` that the daemon answered with, or `DaemonUnreachable`."""

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 60.0, verify: bool = True) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._url + PREFIX,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            # Reading the machine's certificates takes a while, and plain HTTP has no use for them.
            verify=verify and url.startswith("https:"),
            trust_env=False,
        )

    def __enter__(self) -> "ModelGridClient":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._http.close()

    # the whole
    def overview(self) -> dict[str, Any]:
        return self._call("GET", "/overview")

    def doctor(self) -> list[dict[str, Any]]:
        return self._items("/doctor")

    def config(self) -> dict[str, Any]:
        return self._call("GET", "/config")

    def patch_config(
        self, patch: Mapping[str, Any], *, dry_run: bool = False, etag: str | None = None
    ) -> dict[str, Any]:
        """Apply a JSON merge patch to config.json; `etag`, from `config`, refuses it when the file is another now."""
        headers = {"If-Match": f'"{etag}"'} if etag else {}
        return self._call("PATCH", "/config", params={"dry_run": dry_run}, body=patch, headers=headers)

    def restart_daemon(self) -> dict[str, Any]:
        return self._call("POST", "/daemon/restart")

    def config_schema(self) -> dict[str, Any]:
        return self._call("GET", "/config/schema")

    def timeline(self, **query: Any) -> dict[str, Any]:
        return self._call("GET", "/timeline", params=query)

    # nodes and GPUs
    def nodes(self) -> list[dict[str, Any]]:
        return self._items("/nodes")

    def set_node(self, name: str, action: str) -> dict[str, Any]:
        return self._call("POST", f"/nodes/{_part(name)}/{action}")

    def gpus(self) -> dict[str, Any]:
        return self._call("GET", "/gpus")

    def drivers(self) -> list[dict[str, Any]]:
        return self._items("/drivers")

    # targets
    def targets(self) -> list[dict[str, Any]]:
        return self._items("/targets")

    def target(self, model: str) -> dict[str, Any]:
        return self._call("GET", f"/targets/{_path(model)}")

    def ensure(self, model: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        """`wish`: `replicas`, `node`, `gpus`, `gpu_count`, `context`, `concurrency`, `env`, `args`, …"""
        return self._call("PUT", f"/targets/{_path(model)}", body=wish)

    def preview(self, model: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        return self._call("POST", "/targets/preview", body={"model": model, **wish})

    def clear(self, model: str) -> dict[str, Any]:
        return self._call("DELETE", f"/targets/{_path(model)}")

    def placements(self) -> list[dict[str, Any]]:
        return self._items("/placements")

    # deployments
    def deployments(self, **query: Any) -> list[dict[str, Any]]:
        return self._items("/deployments", **query)

    def deployment(self, deployment: str) -> dict[str, Any]:
        return self._call("GET", f"/deployments/{_part(deployment)}")

    def act(self, deployment: str, action: str) -> dict[str, Any]:
        """`action` is `start`, `stop` or `restart`."""
        return self._call("POST", f"/deployments/{_part(deployment)}/{action}")

    def remove(self, deployment: str) -> dict[str, Any]:
        return self._call("DELETE", f"/deployments/{_part(deployment)}")

    def events(self, deployment: str, *, after: int = 0) -> dict[str, Any]:
        return self._call("GET", f"/deployments/{_part(deployment)}/events", params={"after": after})

    def logs(
        self, deployment: str, *, tail: int = 500, after: int | None = None, wait_seconds: float = 0, **wanted: Any
    ) -> dict[str, Any]:
        """`wanted`: `level`, `grep`, `since`; those that are `None` are left out."""
        query = _given({"tail": tail, "after": after, "wait": wait_seconds, **wanted})
        return self._call("GET", f"/deployments/{_part(deployment)}/logs", params=query)

    def log_records(self, *, wait_seconds: float = 0, **wanted: Any) -> dict[str, Any]:
        """Of everything. `wanted`: `source`, `level`, `grep`, `since`, `until`, `after`, `before`, `limit`."""
        return self._call("GET", "/logs", params=_given({"wait": wait_seconds, **wanted}))

    def follow_logs(self, deployment: str, *, tail: int = 500) -> Iterator[dict[str, Any]]:
        """Yield the last `tail` lines and then each new one, until the deployment is gone."""
        page = self.logs(deployment, tail=tail)
        while True:
            yield from page["items"]
            page = self.logs(deployment, after=page["next_after"], wait_seconds=20)
            if not page["items"]:
                try:
                    self.deployment(deployment)
                except NotFound:
                    return

    def history(self, *, limit: int = 100) -> list[dict[str, Any]]:
        return self._items("/history", limit=limit)

    def history_record(self, deployment: str) -> dict[str, Any]:
        return self._call("GET", f"/history/{_part(deployment)}")

    # catalog
    def catalog(self) -> dict[str, Any]:
        return self._call("GET", "/catalog")

    def catalog_entry(self, model: str) -> dict[str, Any]:
        return self._call("GET", f"/catalog/{_path(model)}")

    def refresh_catalog(self) -> dict[str, Any]:
        return self._call("POST", "/catalog/refresh")

    def models(self) -> list[dict[str, Any]]:
        return self._items("/models")

    # access
    def api_keys(self) -> list[dict[str, Any]]:
        return self._items("/apikeys")

    def generate_api_key(self, label: str, **limits: Any) -> dict[str, Any]:
        return self._call("POST", "/apikeys", body={"label": label, **limits})

    def revoke_api_key(self, key: str) -> dict[str, Any]:
        return self._call("DELETE", f"/apikeys/{_part(key)}")

    def tokens(self) -> list[dict[str, Any]]:
        return self._items("/tokens")

    def generate_token(self, label: str, **wish: Any) -> dict[str, Any]:
        """`wish`: `role`, `expires_at`."""
        return self._call("POST", "/tokens", body={"label": label, **wish})

    def revoke_token(self, token: str) -> dict[str, Any]:
        return self._call("DELETE", f"/tokens/{_part(token)}")

    def audit(self, **query: Any) -> dict[str, Any]:
        return self._call("GET", "/audit", params=query)

    def verify_audit(self) -> dict[str, Any]:
        return self._call("GET", "/audit/verify")

    def set_password(self, user: str, password: str) -> None:
        self._call("PUT", f"/users/{_part(user)}/password", body={"password": password})

    def _items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._call("GET", path, params=query)["items"]
        return items

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, params=dict(params or {}), json=body, headers=headers)
        except httpx.ConnectError as error:
            raise DaemonUnreachable(
                f"No daemon answers at {self._url}: {str(error) or 'no connection'}.",
                fix="Start it with `modelgrid up` or `modelgrid service start`; `modelgrid doctor` tells more.",
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DaemonUnreachable(
                f"The daemon at {self._url} does not answer ({type(error).__name__}).",
                fix="`modelgrid service status` or the daemon's log tells why.",
            ) from error
        if not response.is_success:
            raise _error(response)
        try:
            answer: dict[str, Any] = response.json() if response.content else {}
        except ValueError:
            raise _stranger(response) from None
        return answer


def _error(response: httpx.Response) -> ModelGridError:
    try:
        body = response.json()["error"]
        code, message, fix = str(body["code"]), str(body["message"]), str(body.get("fix", ""))
        details = dict(body.get("details", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _stranger(response)
    if "type" in body:
        return _stranger(response)  # the gateway's errors have one, as OpenAI's do
    known = _ERRORS.get(code) or type("ApiError", (ModelGridError,), {"code": code, "status": response.status_code})
    error: ModelGridError = known(message, fix=fix)
    error.details = details
    return error


def _stranger(response: httpx.Response) -> ModelGridError:
    return DaemonUnreachable(
        f"What answers at {response.request.url.copy_with(raw_path=b'/')} is no console API (status "
        f"{response.status_code}).",
        fix="Give the console's address, whose port is api.uiPort (8081 unless set), not the gateway's.",
    )


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _part(text: str) -> str:
    return quote(text, safe="")


def _path(text: str) -> str:
    return quote(text, safe="/")
