"""Under which address other nodes, and clients, reach this one."""

import socket
from urllib.parse import urlsplit

from modelgrid.config.model import Config
from modelgrid.config.urls import ALL_ADDRESSES, in_url

_NOWHERE = "192.0.2.1"
"""An address that nobody has (RFC 5737): the way to it is the way to everybody."""


def advertised_host(config: Config, towards: str = "") -> str:
    """Return the name or address under which others reach this node: as configured, or the one it listens on, or the
    one it has towards `towards` (a host), or its host name where no route leads there. May block on a name that has to
    be looked up."""
    if config.cluster.advertise_url:
        return urlsplit(config.cluster.advertise_url).hostname or ""
    return _reached_at(config.cluster_host, towards)


def gateway_url(config: Config) -> str:
    """Return the URL under which clients reach this node's gateway: as configured, or by the address that it listens
    on, or by the one it has towards everybody. May block as `advertised_host` does."""
    if config.cluster.advertise_url:
        return config.cluster.advertise_url.rstrip("/")
    host = _reached_at(config.api.host, "")
    return f"{config.api.scheme}://{in_url(host)}:{config.api.port}"


def console_url(config: Config) -> str:
    """Return the URL under which browsers reach this node's console: by the address that it listens on, which may be
    for this machine alone, or, where it listens on all, by the configured name or the address towards everybody. May
    block as `advertised_host` does."""
    api = config.api
    host = _reached_at(api.ui_host, "")
    if api.ui_host in ALL_ADDRESSES and config.cluster.advertise_url:
        host = urlsplit(config.cluster.advertise_url).hostname or host
    return f"{api.scheme}://{in_url(host)}:{api.ui_port}"


def _reached_at(listening: str, towards: str) -> str:
    if listening not in ALL_ADDRESSES:
        return listening
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards or _NOWHERE, 9))  # sends nothing: it only chooses an address
        except OSError:  # no default route, as in a network that is for itself
            return socket.gethostname()
        return str(probe.getsockname()[0])
