"""S25: requests made from the OpenAPI document, right and wrong ones, against the console API on a socket."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import httpx
import pytest
from control_alone import Control, control_alone

NIGHTLY = bool(os.environ.get("MODELGRID_NIGHTLY"))
EXAMPLES = 200 if NIGHTLY else 6
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "missing_required_header", "allow_header_conformance",
    "use_after_free", "ensure_resource_availability", "ignored_auth",
)  # fmt: skip
"""All that hold for any API. `positive_data_acceptance` does not for this one: whether a context is too long for a
model, or an image may be used, no schema can say."""
STREAM = "/v1/_ui/events"
"""Never ends, and has tests of its own."""


def document(control: Control) -> dict[str, Any]:
    """Return the document without its `default` answers: with them every status would be one that it has."""
    url, headers = f"{control.url}/v1/_ui/openapi.json", {"Authorization": f"Bearer {control.token}"}
    found: dict[str, Any] = httpx.get(url, headers=headers, trust_env=False).json()
    for methods in found["paths"].values():
        for operation in methods.values():
            del operation["responses"]["default"]
    return found


def fuzz(control: Control, *options: str) -> subprocess.CompletedProcess[str]:
    (described := control.config.parent / "openapi.json").write_text(json.dumps(document(control)))
    settings = control.config.parent / "schemathesis.toml"
    settings.write_text('[parameters]\n"query.wait" = 0\n')  # a long poll proves nothing and takes 30 s
    return subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "--config-file", settings, "run"),
            *(described, "--url", control.url, "--header", f"Authorization: Bearer {control.token}"),
            *("--checks", ",".join(CHECKS), "--exclude-path", STREAM, "--max-response-time", "60"),
            *("--continue-on-failure", "--warnings", "off", *options),
        ],
        cwd=control.config.parent,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
    )


@pytest.mark.timeout(3000 if NIGHTLY else 300)
def test_nothing_that_the_document_allows_or_forbids_makes_it_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with control_alone(tmp_path) as control:
        done = fuzz(
            control,
            *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES)),
            *(() if NIGHTLY else ("--seed", "20", "--generation-deterministic")),
        )
        with capsys.disabled():
            print(f"\nS25: {' '.join(done.stdout.rpartition('Test cases:')[2].split('Seed')[0].split())}")
        assert done.returncode == 0, done.stdout[-20000:] + done.stderr
        assert "Traceback" not in control.log.read_text()
        health = httpx.get(f"{control.url}/v1/_ui/health", trust_env=False)
        assert health.status_code == 200
