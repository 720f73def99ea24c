"""The registry's tables. Times are microseconds since 1970 in UTC: the same in SQLite and PostgreSQL."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

_NAME = String(511)  # 8 segments of 63 characters
# What lists are sorted by, byte by byte whatever the database's locale: pages go on behind a name.
_SORTED_NAME = String(511).with_variant(String(511, collation="C"), "postgresql")
_SORTED_TAG = String(63).with_variant(String(63, collation="C"), "postgresql")
_VERSION = String(256)
_DIGEST = String(71)

namespaces = Table(
    "namespaces",
    metadata,
    Column("name", _SORTED_NAME, primary_key=True),
    Column("request_id", String(64), nullable=True),
    Column("create_time", BigInteger, nullable=False),
)

# A package appears with its first published version.
packages = Table(
    "packages",
    metadata,
    Column("name", _SORTED_NAME, primary_key=True),
    Column("description", Text, nullable=False),
    Column("keywords", Text, nullable=False),  # JSON list
    Column("homepage", Text, nullable=False),
    Column("edited", Text, nullable=False),  # JSON list of the fields that UpdatePackage set
    Column("search_text", Text, nullable=False),  # lower case: name, description, keywords
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("etag", String(32), nullable=False),
)

# Published versions only: immutable but for the yank.
versions = Table(
    "versions",
    metadata,
    Column("package", _NAME, primary_key=True),
    Column("version", _VERSION, primary_key=True),
    Column("precedence", LargeBinary, nullable=False),  # sorts bytewise in SemVer order
    Column("digest", _DIGEST, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("license", String(256), nullable=False),
    Column("report", Text, nullable=False),  # JSON: signature and facts
    Column("referrer", String(1024), nullable=False),  # holds the files at the artifact service
    Column("yanked", Boolean, nullable=False),
    Column("yank_reason", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("publish_time", BigInteger, nullable=False),
    Index("ix_versions_precedence", "package", "precedence"),
)

# Versions on their way, and those that were refused. A number has one draft at most.
drafts = Table(
    "drafts",
    metadata,
    Column("package", _NAME, primary_key=True),
    Column("version", _VERSION, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("digest", _DIGEST, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("license", String(256), nullable=False),
    Column("request_id", String(64), nullable=True, unique=True),
    Column("rejections", Text, nullable=False),  # JSON list
    Column("create_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger, nullable=False, index=True),
    Column("claim", String(32), nullable=True),  # whose commit is at it
    Column("claim_expire_time", BigInteger, nullable=False),
)

# References at the artifact service that nothing needs any more; rows go when the artifact service has let go.
releases = Table(
    "releases",
    metadata,
    Column("referrer", String(1024), primary_key=True),
    Column("namespace", _NAME, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("package", _NAME, primary_key=True),
    Column("tag", _SORTED_TAG, primary_key=True),
    Column("version", _VERSION, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("etag", String(32), nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(32), nullable=False),
    Column("package", _NAME, nullable=False),
    Column("version", _VERSION, nullable=False),
    Column("tag", String(63), nullable=False),
    Column("time", BigInteger, nullable=False),
    Index("ix_events_package", "package", "sequence"),
)

# One row, locked by whoever writes events until its transaction ends: so sequence numbers become visible in order.
event_counter = Table(
    "event_counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)
