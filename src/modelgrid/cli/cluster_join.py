"""Joining a cluster on a machine where no daemon runs yet."""

import json
import socket
from urllib.parse import urlsplit

from modelgrid.cli.session import Session
from modelgrid.config.file import dump, load_config, parse_config, read_text, rewrite, set_value
from modelgrid.domain.errors import Conflict, InvalidConfig
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import NodeRole


async def join_without_daemon(session: Session, url: str, token: str) -> str:
    """Join as the node that the configuration here describes, and write down that it is a worker; return the control
    plane's name. Raises what a join raises, and `InvalidConfig` when the files cannot be written."""
    # httpx and the cluster's services: needed by this one verb only
    from modelgrid.adapters.clock_system import SystemClock  # noqa: PLC0415
    from modelgrid.adapters.cluster_files import ClusterFiles  # noqa: PLC0415
    from modelgrid.adapters.node_certificate import FOLDER  # noqa: PLC0415
    from modelgrid.services.cluster.advertise import advertised_host  # noqa: PLC0415
    from modelgrid.services.cluster.joining import join_as  # noqa: PLC0415

    config = load_config(session.config)
    if config.cluster.role is NodeRole.CONTROL_PLANE:
        raise Conflict("This node is a control plane itself.", fix="Set cluster.role to standalone first.")
    document = json.loads(read_text(session.config))
    for key, value in (("cluster.role", NodeRole.WORKER.value), ("cluster.controlPlaneUrl", url.rstrip("/"))):
        document = set_value(document, key, value)
    text = dump(document)
    parse_config(text, source=str(session.config))
    folder = session.state / FOLDER
    try:
        session.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        membership = await join_as(
            config,
            folder,
            NodeName(config.node_name or socket.gethostname()),
            SystemClock(),
            lambda where: advertised_host(config, urlsplit(where).hostname or ""),
            url,
            token,
        )
        ClusterFiles(folder).keep_membership(membership)
        rewrite(session.config, text)
    except OSError as error:
        raise InvalidConfig(
            f"The files of this node cannot be written: {error.strerror}.",
            fix="Run this as the daemon's user, for example with sudo.",
        ) from error
    return membership.control_plane
