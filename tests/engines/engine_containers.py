"""A container engine as the tests see it, past the daemon: what it has, and what may happen to it."""

import json
from pathlib import Path
from typing import Any

import httpx


class Containers:
    """What the tests ask of the engine, past the daemon."""

    def __init__(self, socket: Path) -> None:
        self.http = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://docker", timeout=60)

    def containers(self, owner: str) -> list[dict[str, Any]]:
        filters = json.dumps({"label": [f"modelgrid.owner={owner}"]})
        found: list[dict[str, Any]] = self._get("/containers/json", all="true", filters=filters)
        return [self._get(f"/containers/{item['Id']}/json") for item in found]

    def there(self, name: str) -> bool:
        return self.http.get(f"/containers/{name}/json").status_code == 200

    def has_image(self, name: str) -> bool:
        return self.http.get(f"/images/{name}/json").status_code == 200

    def pull(self, name: str) -> None:
        repository, _, tag = name.rpartition(":")
        answer = self.http.post("/images/create", params={"fromImage": repository, "tag": tag}, timeout=300)
        answer.raise_for_status()
        assert '"error"' not in answer.text, answer.text[-500:]

    def kill(self, container: str) -> None:
        self.http.post(f"/containers/{container}/kill", params={"signal": "KILL"}).raise_for_status()

    def create(self, name: str, image_name: str, labels: dict[str, str]) -> None:
        spec = {"Image": image_name, "Entrypoint": [], "Cmd": ["sleep", "600"], "Labels": labels}
        self.http.post("/containers/create", params={"name": name}, json=spec).raise_for_status()
        self.http.post(f"/containers/{name}/start").raise_for_status()

    def remove(self, path: str) -> None:
        """Remove `containers/…`, `images/…` or `networks/…` if it is there."""
        answer = self.http.delete(f"/{path}", params={"force": "true"})
        assert answer.status_code < 300 or answer.status_code == 404, answer.text

    def _get(self, path: str, **params: str) -> Any:
        answer = self.http.get(path, params=params)
        answer.raise_for_status()
        return answer.json()
