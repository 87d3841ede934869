"""What operators want of nodes."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from modelgrid.adapters.store_sql import events
from modelgrid.adapters.store_sql.tables import node_status
from modelgrid.adapters.store_sql.upsert import put as put_row
from modelgrid.domain.event import Event
from modelgrid.domain.node import NodeStatus


def statuses(db: Connection) -> Mapping[str, NodeStatus]:
    return {row.name: NodeStatus(row.status) for row in db.execute(select(node_status))}


def set_status(db: Connection, name: str, status: NodeStatus, facts: Sequence[Event]) -> None:
    put_row(db, node_status, {"name": name, "status": status.value})
    events.append(db, facts)
