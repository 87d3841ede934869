"""The systemd units of the daemon, as text."""

from dataclasses import dataclass

SERVICE = "modelgrid.service"
API_SOCKET = "modelgrid-api.socket"
UI_SOCKET = "modelgrid-ui.socket"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts:
    program: str
    """Absolute path of the `modelgrid` command; systemd allows no quotes and backslashes in it."""
    config: str
    state_dir: str
    api_address: str
    """`host:port`, as systemd.socket(5) writes it."""
    ui_address: str
    user: str
    model_cache_dir: str | None = None
    """Where it lies outside the state directory."""


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
    writable = [facts.state_dir, *([facts.model_cache_dir] if facts.model_cache_dir else [])]
    return f"""\
[Unit]
Description=ModelGrid: vLLM deployments, OpenAI-compatible gateway and console
Wants=network-online.target
After=network-online.target docker.service podman.socket {API_SOCKET} {UI_SOCKET}
Requires={API_SOCKET} {UI_SOCKET}
StartLimitIntervalSec=120
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={_path(facts.program)} --config {_quoted(facts.config)} --state-dir {_quoted(facts.state_dir)} up
# The driver's own helper loads the module that CUDA needs; the daemon itself may load none.
ExecStartPre=-+/usr/bin/nvidia-modprobe -u -c=0
ExecReload=/bin/kill -HUP $MAINPID
User={facts.user}
Restart=on-failure
RestartSec=1
# A configuration that is refused is not tried again: the journal says what to mend.
RestartPreventExitStatus=2
# The supervisor ends its children itself, after running requests finished. Engines of the process
# runtime live in this control group too and outlast a restart of the daemon: nothing else is killed.
KillMode=process
TimeoutStartSec=120
TimeoutStopSec=60
LimitNOFILE=65536
LimitMEMLOCK=infinity
UMask=0077

NoNewPrivileges=yes
# For a service of root: what containers get, less what changes identities, plus the kernel log.
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL
CapabilityBoundingSet=CAP_IPC_LOCK CAP_SYS_NICE CAP_SYS_RESOURCE CAP_NET_BIND_SERVICE CAP_SYSLOG
# Not `strict`: engines of the process runtime keep kernels and sockets in their user's caches and /tmp.
ProtectSystem=full
ReadWritePaths={" ".join(_path(folder) for folder in writable)} -/etc/modelgrid
ProtectKernelTunables=yes
ProtectKernelModules=yes
# The kernel log stays readable: the GPUs report their faults (Xid) there.
ProtectKernelLogs=no
ProtectControlGroups=yes
ProtectHostname=yes
# Not ProtectClock: it implies a DeviceAllow, which would close every GPU's device file.
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
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
ListenStream={_specifiers(address)}
FileDescriptorName={name}
Backlog=4096
NoDelay=yes
Service={SERVICE}

[Install]
WantedBy=sockets.target
"""


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Return an argument as systemd.service(5) quotes it: `%` and `$` are not expanded."""
    escaped = _specifiers(text.replace("\\", "\\\\").replace('"', '\\"')).replace("$", "$$")
    return f'"{escaped}"' if any(mark in text for mark in " \t'\";#") or escaped != text else text


def _path(text: str) -> str:
    """Return a path of a program or a list of paths: quoted as above, but `$` is no variable there."""
    escaped = _specifiers(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"' if any(mark in text for mark in " \t'\"") or "\\" in text else escaped
