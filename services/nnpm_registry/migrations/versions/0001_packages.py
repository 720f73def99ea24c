"""Namespaces, packages, versions, drafts, tags and events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.String(511)
VERSION = sa.String(256)
DIGEST = sa.String(71)


def upgrade() -> None:
    op.create_table(
        "namespaces",
        sa.Column("name", NAME, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_namespaces"),
    )
    op.create_table(
        "packages",
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("keywords", sa.Text, nullable=False),
        sa.Column("homepage", sa.Text, nullable=False),
        sa.Column("edited", sa.Text, nullable=False),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_packages"),
    )
    op.create_table(
        "versions",
        sa.Column("package", NAME, nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("precedence", sa.LargeBinary, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("license", sa.String(256), nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("referrer", sa.String(1024), nullable=False),
        sa.Column("yanked", sa.Boolean, nullable=False),
        sa.Column("yank_reason", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("publish_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("package", "version", name="pk_versions"),
    )
    op.create_index("ix_versions_precedence", "versions", ["package", "precedence"])
    op.create_table(
        "drafts",
        sa.Column("package", NAME, nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("license", sa.String(256), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("rejections", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("expire_time", sa.BigInteger, nullable=False),
        sa.Column("claim", sa.String(32), nullable=True),
        sa.Column("claim_expire_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("package", "version", name="pk_drafts"),
        sa.UniqueConstraint("id", name="uq_drafts_id"),
        sa.UniqueConstraint("request_id", name="uq_drafts_request_id"),
    )
    op.create_index("ix_drafts_expire_time", "drafts", ["expire_time"])
    op.create_table(
        "releases",
        sa.Column("referrer", sa.String(1024), nullable=False),
        sa.Column("namespace", NAME, nullable=False),
        sa.PrimaryKeyConstraint("referrer", name="pk_releases"),
    )
    op.create_table(
        "tags",
        sa.Column("package", NAME, nullable=False),
        sa.Column("tag", sa.String(63), nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("package", "tag", name="pk_tags"),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("package", NAME, nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("tag", sa.String(63), nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_events"),
    )
    op.create_index("ix_events_package", "events", ["package", "sequence"])
    counter = op.create_table(
        "event_counter",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event_counter"),
    )
    op.bulk_insert(counter, [{"id": 1, "last": 0}])
