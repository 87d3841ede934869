"""How nodes come into the cluster and out of it."""

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from modelgrid.api.context import Caller, Context, Services
from modelgrid.config.urls import is_private_elsewhere
from modelgrid.domain.errors import Conflict
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import NodeRole

router = APIRouter(tags=["cluster"])


class ClusterView(BaseModel):
    """This node's place in its cluster."""

    node: str
    role: NodeRole
    nodes: int
    """Nodes that this one knows of, itself included."""
    control_plane: str | None
    """On a worker that has joined: the node name of its control plane."""
    control_plane_url: str | None
    """On a worker: where its control plane answers nodes."""
    control_plane_console_url: str | None
    """On a worker: where the console of its control plane is, as that one says; null before it has."""
    control_plane_console_private: bool
    """That console listens on the control plane's machine alone, which is another one: a tunnel leads there."""
    joined: bool
    """On a worker: whether a control plane has taken it in."""
    answered_at: float | None
    """On a worker: when the control plane answered last."""
    problem: str
    """Why the control plane is not reached, or what keeps the node from having one; empty when all is well."""


class JoinSnippet(BaseModel):
    """What a new node needs. The invitation is shown once and good once."""

    token: str
    expires_at: float
    url: str
    """Where the control plane answers nodes."""
    fingerprint: str
    """SHA-256 of its certificate: the node makes sure of it before it sends anything."""
    command: str
    """What to run on the new node."""
    install: str
    """The same on a machine without ModelGrid."""
    config: str
    """The `cluster` section that the node's config.json will have, as JSON."""


class JoinBody(BaseModel):
    url: str = Field(max_length=512, description="`https://host:8082`, as the invitation came with it.")
    token: str = Field(max_length=256, description="The invitation: `mgj-…`.")


class Joined(BaseModel):
    control_plane: str
    """Its node name."""
    restarting: Literal[True] = True


class Left(BaseModel):
    restarting: Literal[True] = True


class Removed(BaseModel):
    name: str


def cluster_view(services: Services) -> ClusterView:
    """Return this node's place in its cluster."""
    contact = services.contact()
    config = services.config
    problem = contact.problem if contact else ""
    console = contact.console_url if contact else ""
    if config.cluster.role is NodeRole.WORKER and contact is None:
        problem = "This worker has not joined a control plane yet: `modelgrid cluster join URL INVITATION`."
    return ClusterView(
        node=services.node_name,
        role=config.cluster.role,
        nodes=len(services.nodes()),
        control_plane=contact.control_plane if contact else None,
        control_plane_url=contact.url if contact else config.cluster.control_plane_url,
        control_plane_console_url=console or None,
        control_plane_console_private=contact is not None and is_private_elsewhere(console, contact.url),
        joined=contact is not None,
        answered_at=contact.since if contact else None,
        problem=problem,
    )


@router.get("/cluster")
async def show_cluster(services: Context) -> ClusterView:
    """Return this node's place in its cluster."""
    return cluster_view(services)


@router.post("/nodes/join", status_code=201)
async def invite_node(services: Context, caller: Caller) -> JoinSnippet:
    """Make an invitation for one node, good for 15 minutes, and what to run there."""
    control = services.control
    if control is None:
        raise _no_control_plane(services)
    made = await control.members.invite(by=caller)
    url, token = services.cluster_url, str(made.invitation)
    command = f"modelgrid cluster join {url} {token}"
    section = {"role": NodeRole.WORKER.value, "controlPlaneUrl": url}
    return JoinSnippet(
        token=token,
        expires_at=made.token.expires_at,
        url=url,
        fingerprint=made.invitation.fingerprint,
        command=command,
        install=f"pip install modelgrid && sudo {command} && sudo modelgrid service enable",
        config=json.dumps({"cluster": section}, indent=2),
    )


@router.delete("/nodes/{name}")
async def remove_node(
    services: Context,
    caller: Caller,
    name: str,
    force: Annotated[bool, Query(description="Also a node that is there and has deployments.")] = False,
) -> Removed:
    """Take a node out of the cluster. Its credential is worth nothing from then on."""
    if services.control is None:
        raise _no_control_plane(services)
    await services.control.remove(NodeName(name), by=caller, force=force)
    return Removed(name=name)


@router.post("/cluster/join", status_code=202)
async def join_cluster(services: Context, caller: Caller, body: JoinBody) -> Joined:
    """Make this node a worker of a control plane, and restart it as that. Engines and requests go on."""
    membership = await services.joining.join(body.url, body.token, by=caller)
    return Joined(control_plane=membership.control_plane)


@router.post("/cluster/leave", status_code=202)
async def leave_cluster(services: Context, caller: Caller) -> Left:
    """Make this worker a node of its own again, and restart it as that. Its engines run on."""
    await services.joining.leave(by=caller)
    return Left()


def _no_control_plane(services: Services) -> Conflict:
    role = services.config.cluster.role
    if role is NodeRole.WORKER:
        return Conflict(
            f"{services.node_name} is a worker: its control plane takes nodes in.",
            fix="Do this on the control plane.",
            role=role.value,
        )
    return Conflict(
        f"{services.node_name} stands alone. To have more nodes it becomes their control plane.",
        fix="Set `cluster.role` to `control-plane` and, for nodes on other machines, `cluster.host` to an address they "
        "reach; then restart the daemon. Nothing that runs is disturbed: "
        "`modelgrid config set cluster.role control-plane && modelgrid service reload`.",
        role=role.value,
    )
