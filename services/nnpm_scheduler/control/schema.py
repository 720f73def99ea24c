"""The scheduler's tables. Times are microseconds since 1970 in UTC: the same in SQLite and PostgreSQL."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

deployments = Table(
    "deployments",
    metadata,
    Column("uid", String(32), primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("generation", BigInteger, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("newest", BigInteger, nullable=False),  # number of the current revision
    Column("serving", BigInteger, nullable=False),  # number of the revision that takes calls; 0 = none yet
    Column("request_id", String(64), nullable=True, unique=True),  # of the creation
    Column("request_digest", String(64), nullable=False),  # of what the creation asked for
    Column("changed", BigInteger, nullable=False, index=True),  # counters.changes at the row's last change
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("deployment", String(32), ForeignKey("deployments.uid", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False, index=True),
    Column("package", String(512), nullable=False),
    Column("selector", String(256), nullable=False),
    Column("replicas", Integer, nullable=False),
    Column("max_batch_size", Integer, nullable=False),
    Column("max_queue_delay_us", Integer, nullable=True),  # none = as long as it pays
    Column("preferred_batch_sizes", String(128), nullable=False),  # with commas; empty = any
    Column("quota_rate", Double, nullable=False),  # requests a second; 0 = any number
    Column("quota_in_flight", Integer, nullable=False),  # 0 = any number
    Column("version", String(256), nullable=False),
    Column("digest", String(71), nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("signature", Text, nullable=False),  # JSON
    Column("size", BigInteger, nullable=False),
    Column("runtime", String(63), nullable=False),
    Column("failure_reason", String(63), nullable=True),
    Column("failure_message", Text, nullable=True),
    Column("create_time", BigInteger, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),  # "changes", "fencing"
    Column("value", BigInteger, nullable=False),
)
