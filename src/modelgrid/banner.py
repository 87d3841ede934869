"""What `modelgrid up` prints when everything answers."""

import shlex
from pathlib import Path

from modelgrid import __version__
from modelgrid.config.model import Config
from modelgrid.config.paths import INITIAL_PASSWORD_FILE
from modelgrid.config.urls import reachable
from modelgrid.decide.platform import Platform
from modelgrid.domain.gpu import GpuInventory
from modelgrid.domain.units import format_bytes

SET_PASSWORD = "modelgrid config user passwd"  # noqa: S105  a command


def banner(
    config: Config,
    platform: Platform,
    password: str | None,
    first_key: str | None,
    inventory: GpuInventory,
    config_path: Path,
    state_dir: Path,
    sample_model: str | None,
) -> str:
    """Return the text. `password` and `first_key` are secrets of the first start, `None` later; where the
    password still is, is said until it is changed."""
    api = config.api
    base = f"{api.scheme}://{reachable(api.host)}:{api.port}/v1"
    rows = [
        ("Console", api.local_console_url),
        ("API base URL", base),
        ("Engines", platform.reason),
        ("GPUs", _gpus(inventory, simulated=platform.gpus_simulated)),
        ("State", str(state_dir)),
        ("Config", str(config_path) if config_path.exists() else f"defaults ({config_path} does not exist)"),
    ]
    if password is not None:
        rows.append(("Log in as", f"admin, with the one-time password {password} (valid for a day)"))
    elif (kept := state_dir / INITIAL_PASSWORD_FILE).exists():
        rows.append(("Log in as", f"admin, with the one-time password in {kept}, or set one: {SET_PASSWORD}"))
    if first_key is not None:
        rows.append(("API key", f"{first_key} (shown this once)"))
    width = max(len(name) for name, _ in rows)
    lines = [f"ModelGrid {__version__} is ready.", ""]
    lines += [f"  {name:<{width}}  {value}" for name, value in rows]
    return "\n".join([*lines, "", *_try_it(base, first_key, sample_model), ""])


def _gpus(inventory: GpuInventory, *, simulated: bool) -> str:
    if not inventory.gpus:
        return inventory.problem or "none"
    kinds: dict[str, int] = {}
    for gpu in inventory.gpus:
        kind = f"{gpu.name}, {format_bytes(gpu.vram_total_bytes)}"
        kinds[kind] = kinds.get(kind, 0) + 1
    said = "; ".join(f"{count} × {kind}" for kind, count in kinds.items())
    return f"SIMULATED: {said}" if simulated else said


def _try_it(base: str, first_key: str | None, sample_model: str | None) -> list[str]:
    # A variable is expanded between double quotes only.
    bearer = f"'Authorization: Bearer {first_key}'" if first_key else '"Authorization: Bearer $MODELGRID_API_KEY"'
    # No certificate names 127.0.0.1; what goes there does not leave the machine.
    curl = "curl --insecure" if base.startswith("https:") else "curl"
    call = f"{curl} {base}/models -H {bearer}"
    if sample_model is not None:
        body = f'{{"model": "{sample_model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
        call = f"{curl} {base}/chat/completions -H {bearer} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    lines = ["  Try it:", f"    {call}"]
    if first_key is None:
        lines.append("  A new API key: modelgrid config apikey generate --label NAME")
    if sample_model is None:
        lines.append("  Deploy a model: modelgrid run MODEL   (modelgrid model list shows them)")
    return lines
