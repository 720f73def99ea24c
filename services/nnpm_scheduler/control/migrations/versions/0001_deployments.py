"""Deployments and their revisions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("uid", sa.String(32), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("newest", sa.BigInteger, nullable=False),
        sa.Column("serving", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("uid", name="pk_deployments"),
        sa.UniqueConstraint("name", name="uq_deployments_name"),
        sa.UniqueConstraint("request_id", name="uq_deployments_request_id"),
    )
    op.create_index("ix_deployments_changed", "deployments", ["changed"])
    op.create_table(
        "revisions",
        sa.Column("deployment", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("package", sa.String(512), nullable=False),
        sa.Column("selector", sa.String(256), nullable=False),
        sa.Column("replicas", sa.Integer, nullable=False),
        sa.Column("max_batch_size", sa.Integer, nullable=False),
        sa.Column("version", sa.String(256), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("runtime", sa.String(63), nullable=False),
        sa.Column("failure_reason", sa.String(63), nullable=True),
        sa.Column("failure_message", sa.Text, nullable=True),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("deployment", "number", name="pk_revisions"),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.uid"], name="fk_revisions_deployment", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_revisions_id", "revisions", ["id"])
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.bulk_insert(counters, [{"name": "changes", "value": 0}, {"name": "fencing", "value": 0}])
