"""How long a request may wait for company, and the sizes of batch that are preferred."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("revisions", sa.Column("max_queue_delay_us", sa.Integer, nullable=True))
    op.add_column(
        "revisions", sa.Column("preferred_batch_sizes", sa.String(128), nullable=False, server_default=sa.text("''"))
    )
