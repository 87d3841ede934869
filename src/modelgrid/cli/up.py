"""`modelgrid up`: checks the configuration, prepares the state directory, and becomes the supervisor."""

import argparse
import json
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from modelgrid.adapters.node_certificate import FOLDER, certificate_in, ensure_certificate
from modelgrid.config.file import load_config
from modelgrid.config.model import Config
from modelgrid.config.paths import LOCK_FILE, STATE_URL
from modelgrid.domain.errors import InvalidConfig
from modelgrid.domain.node import NodeRole
from modelgrid.listening import Listen
from modelgrid.supervisor import ChildPlan, Plan


def run_supervisor(config_path: Path, state_dir: Path, state_url: str | None, *, explicit: bool) -> NoReturn:
    """Replace this process by the supervisor. `explicit`: the file was named, so it has to exist.

    Raises `InvalidConfig` before anything is started."""
    config = checked_config(config_path, explicit=explicit)
    run_dir = prepare_state(state_dir)
    prepare_cluster(config, state_dir)
    plan = make_plan(config, config_path.absolute(), state_dir.absolute(), run_dir, explicit=explicit)
    if state_url:
        os.environ[STATE_URL] = state_url
    os.execv(sys.executable, [sys.executable, "-m", "modelgrid.supervisor", json.dumps(plan)])  # noqa: S606


def checked_config(path: Path, *, explicit: bool) -> Config:
    """Return the configuration, whose certificate can be served with. Raises `InvalidConfig`."""
    config = load_config(path, must_exist=explicit)
    if config.api.tls is not None:
        from modelgrid.services.certificates import check_certificate  # noqa: PLC0415  only with TLS, and slow to import

        check_certificate(config)
    return config


def prepare_state(state_dir: Path) -> Path:
    """Make the state directory, readable by its owner only; return its `run` folder. Raises `InvalidConfig`."""
    run_dir = state_dir / "run"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        if state_dir.stat().st_uid == os.geteuid():
            state_dir.chmod(0o700)
        run_dir.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(
            f"The state directory {state_dir} cannot be used: {error.strerror}.",
            fix="Name another with --state-dir, or mend its owner.",
        ) from error
    return run_dir.absolute()


def prepare_cluster(config: Config, state_dir: Path) -> None:
    """Make this node's certificate, once it is to be one of several. Raises `InvalidConfig`."""
    if config.cluster.role is not NodeRole.STANDALONE:
        ensure_certificate(state_dir / FOLDER, config.node_name or socket.gethostname())


def make_plan(config: Config, config_path: Path, state_dir: Path, run_dir: Path, *, explicit: bool) -> Plan:
    """Return what the supervisor binds and starts."""
    api, role = config.api, config.cluster.role
    python = sys.executable
    board = f"board-{api.workers}"  # its records have room for so many
    places = ["--config", str(config_path), "--state-dir", str(state_dir)]
    control = [python, "-m", "modelgrid.control", *places, "--socket", "{fd:ui:0}", "--listening", "{listening}"]
    listen = [
        Listen(name="api", host=api.host, port=api.port, count=api.workers, waits=True),
        Listen(name="ui", host=api.ui_host, port=api.ui_port, count=1, waits=True),
    ]
    if role is not NodeRole.STANDALONE:
        host, cluster = config.cluster_host, config.cluster
        listen.append(Listen(name="peers", host=host, port=cluster.peer_port, count=api.workers, waits=True))
        # A node that is refused knows that nobody gives its deployments away; one that waits has to fear it.
        listen.append(Listen(name="cluster", host=host, port=cluster.port, count=1, waits=False))
        control += ["--cluster-socket", "{fd:cluster:0}"]
    files = certificate_in(state_dir / FOLDER)
    identity = ["--certificate", str(files.certificate), "--key", str(files.key)]
    tls = ["--tls-certificate", api.tls.cert_file, "--tls-key", api.tls.key_file] if api.tls else []
    gateways = [
        ChildPlan(
            name=f"gateway-{index}",
            argv=[
                *(python, "-m", "modelgrid.gateway", "--index", str(index), "--fd", f"{{fd:api:{index}}}"),
                *("--board", f"{{fd:{board}:0}}", "--workers", str(api.workers)),
                *("--link", str(run_dir / "control.sock"), "--cache", str(run_dir / f"routing-{index}.msgpack")),
                *tls,
                *(() if role is NodeRole.STANDALONE else ("--peers", f"{{fd:peers:{index}}}", *identity)),
            ],
        )
        for index in range(api.workers)
    ]
    return Plan(
        lock=str(state_dir / LOCK_FILE),
        listen=listen,
        shared=[board],
        children=[ChildPlan(name="control", argv=control), *gateways],
        again=[python, "-m", "modelgrid.cli.up", *places, *(["--must-exist"] if explicit else [])],
    )


def main() -> None:
    """Print the plan for the configuration as it is now: what the supervisor asks for when it replaces its children."""
    parser = argparse.ArgumentParser(prog="python -m modelgrid.cli.up", description="Prints the supervisor's plan.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--must-exist", action="store_true")
    given = parser.parse_args()
    try:
        config = checked_config(given.config, explicit=given.must_exist)
        prepare_cluster(config, given.state_dir)
    except InvalidConfig as error:
        sys.exit(f"modelgrid: {error}")
    run_dir = given.state_dir / "run"
    plan = make_plan(config, given.config, given.state_dir, run_dir, explicit=given.must_exist)
    sys.stdout.write(json.dumps(plan))


if __name__ == "__main__":
    main()
