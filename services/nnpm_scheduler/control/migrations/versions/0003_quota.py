"""What all callers of a deployment together may ask of it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("revisions", sa.Column("quota_rate", sa.Double, nullable=False, server_default=sa.text("0")))
    op.add_column("revisions", sa.Column("quota_in_flight", sa.Integer, nullable=False, server_default=sa.text("0")))
