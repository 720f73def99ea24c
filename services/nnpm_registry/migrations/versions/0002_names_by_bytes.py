"""Names are sorted by their bytes, whatever the locale of a PostgreSQL database: as in SQLite."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SORTED = (("namespaces", "name", 511), ("packages", "name", 511), ("tags", "tag", 63))


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column, length in SORTED:
        op.alter_column(table, column, type_=sa.String(length, collation="C"))
