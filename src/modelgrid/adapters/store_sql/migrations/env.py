"""Run by alembic: within `schema.ensure_schema`, which brings its connection and its transaction, or from
`alembic revision --autogenerate`, which brings a URL (see docs/architecture/store.md)."""

from alembic import context
from sqlalchemy import Connection, create_engine

from modelgrid.adapters.store_sql.tables import VERSION_TABLE, metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,  # SQLite alters a table by copying it
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(context.config.get_main_option("sqlalchemy.url", "")).connect() as own:
        run(own)
        own.commit()
