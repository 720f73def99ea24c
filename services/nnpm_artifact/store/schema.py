"""The tables. Times are Unix milliseconds; digests are 32 raw bytes."""

from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in an INTEGER column."""


class PackState(IntEnum):
    """A pack's life. Its row is written before the object, and goes after it: no crash leaves an unknown object."""

    WRITING = 1
    READY = 2
    DELETING = 3


facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(256), nullable=False),
)

namespaces = Table(
    "namespaces",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(512), nullable=False, unique=True),
)

packs = Table(
    "packs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("namespace_id", _Id, ForeignKey("namespaces.id"), nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    # of the whole object, and of the entries in it, in bytes
    Column("size", BigInteger, nullable=False),
    Column("content", BigInteger, nullable=False),
    # the process that writes it, see `writers`; NULL: one of a version that was alone on its store
    Column("writer", String(320)),
    Index(None, "state"),
)

# Processes that live, by the name of their seat; what one that does not was writing, another takes care of.
writers = Table(
    "writers",
    metadata,
    Column("name", String(320), primary_key=True),
    Column("expires", BigInteger, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("namespace_id", _Id, ForeignKey("namespaces.id"), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("size", Integer, nullable=False),
    Column("pack_id", _Id, ForeignKey("packs.id"), nullable=False),
    Column("pack_offset", BigInteger, nullable=False),
    # how often recipes name it
    Column("uses", BigInteger, nullable=False),
    # when garbage collection first saw it held by nothing; NULL while something holds it
    Column("free_since", BigInteger),
    # found to be damaged: missing for whoever asks, replaced by whoever uploads it again
    Column("damaged", Boolean, nullable=False),
    UniqueConstraint("namespace_id", "digest"),
    Index(None, "pack_id"),
    Index(None, "uses", "free_since"),
)

files = Table(
    "files",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("namespace_id", _Id, ForeignKey("namespaces.id"), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("chunk_count", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    # the pack that holds its recipe, from which the index is rebuilt
    Column("pack_id", _Id, ForeignKey("packs.id"), nullable=False, index=True),
    Column("free_since", BigInteger),
    UniqueConstraint("namespace_id", "digest"),
)

recipe_parts = Table(
    "recipe_parts",
    metadata,
    Column("file_id", _Id, ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("first_byte", BigInteger, primary_key=True),
    # digest (32) and size (u32) of each chunk: see recipes.py
    Column("chunks", LargeBinary, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("namespace_id", _Id, ForeignKey("namespaces.id"), nullable=False),
    # NULL once the upload is over, so that the id can be used again
    Column("request_id", String(64)),
    Column("expires", BigInteger, nullable=False, index=True),
    Column("deleted", Boolean, nullable=False),
    UniqueConstraint("namespace_id", "request_id"),
)

pins = Table(
    "pins",
    metadata,
    Column("upload_id", String(32), ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    # no cascade: a chunk that is pinned cannot go
    Column("chunk_id", _Id, ForeignKey("chunks.id"), primary_key=True, index=True),
)

upload_files = Table(
    "upload_files",
    metadata,
    Column("upload_id", String(32), ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("file_id", _Id, ForeignKey("files.id"), primary_key=True, index=True),
)

file_references = Table(
    "file_references",
    metadata,
    Column("namespace_id", _Id, primary_key=True),
    Column("referrer", String(512), primary_key=True),
    Column("file_id", _Id, ForeignKey("files.id"), primary_key=True, index=True),
    # the pack that holds this reference, from which the index is rebuilt
    Column("pack_id", _Id, ForeignKey("packs.id"), nullable=False, index=True),
    ForeignKeyConstraint(["namespace_id"], ["namespaces.id"]),
)
