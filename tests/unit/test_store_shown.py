"""What people are told of the database: where it is, and no secret."""

import pytest
from sqlalchemy.engine import make_url

from modelgrid.adapters.store_sql.engine import shown_as


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/lib/modelgrid/state.db", "/var/lib/modelgrid/state.db"),
        ("postgresql://u@host:5433/grid", "postgresql://u@host:5433/grid"),
        ("postgresql+psycopg://u:hidden@host/grid?connect_timeout=3", "postgresql://u:***@host/grid"),
        ("postgresql://host/grid?user=u&password=hidden", "postgresql://host/grid"),
    ],
)
def test_a_database_is_shown_without_what_is_secret_or_ours(url: str, shown: str) -> None:
    assert shown_as(make_url(url)) == shown
