"""The systemd units of the daemon, as text."""

from dataclasses import dataclass

SERVICE = "modelgrid.service"
API_SOCKET = "modelgrid-api.socket"
UI_SOCKET = "modelgrid-ui.socket"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts:
    program: str
    """Absolute path of the `modelgrid` command."""
    config: str
    state_dir: str
    api_address: str
    """`host:port`, as systemd.socket(5) writes it."""
    ui_address: str
    user: str


def units(facts: UnitFacts) -> dict[str, str]:
    """Return each unit's text by its name.

    The sockets are units of their own, so that they stay open while the service is restarted or upgraded: a
    connection that arrives meanwhile waits instead of being refused."""
    return {
        SERVICE: _service(facts),
        API_SOCKET: _socket("gateway", "api", facts.api_address),
        UI_SOCKET: _socket("console", "ui", facts.ui_address),
    }


def _service(facts: UnitFacts) -> str:
    return f"""\
[Unit]
Description=ModelGrid: vLLM deployments, OpenAI-compatible gateway and console
Wants=network-online.target
After=network-online.target docker.service podman.socket {API_SOCKET} {UI_SOCKET}
Requires={API_SOCKET} {UI_SOCKET}

[Service]
Type=notify
NotifyAccess=main
ExecStart={_quoted(facts.program)} --config {_quoted(facts.config)} --state-dir {_quoted(facts.state_dir)} up
ExecReload=/bin/kill -HUP $MAINPID
User={facts.user}
Restart=on-failure
RestartSec=1
# A configuration that is refused is not tried again: the journal says what to mend.
RestartPreventExitStatus=2
# The supervisor ends its children itself, after running requests finished. Engines of the process runtime
# live in this control group too and outlast a restart of the daemon, so nothing else is killed.
KillMode=process
TimeoutStartSec=120
TimeoutStopSec=60
LimitNOFILE=65536
UMask=0077

NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={_quoted(facts.state_dir)} -/etc/modelgrid
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
LockPersonality=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK

[Install]
WantedBy=multi-user.target
"""


def _socket(what: str, name: str, address: str) -> str:
    return f"""\
[Unit]
Description=ModelGrid {what} socket

[Socket]
ListenStream={address}
FileDescriptorName={name}
Backlog=4096
NoDelay=yes
Service={SERVICE}

[Install]
WantedBy=sockets.target
"""


def _quoted(text: str) -> str:
    """Return an argument as systemd.service(5) quotes it: `%` and `$` are not expanded."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if " " in escaped or escaped != text else text
