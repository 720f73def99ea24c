"""Who writes a pack, so that several processes can share a store."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "writers",
        sa.Column("name", sa.String(length=320), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_writers")),
    )
    op.add_column("packs", sa.Column("writer", sa.String(length=320), nullable=True))
