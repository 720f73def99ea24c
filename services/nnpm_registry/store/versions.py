"""Published versions."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, update

from nnpm.errors import NotFound
from nnpm_registry.records import EventType, Listed, Version
from nnpm_registry.store import events, rows, tags
from nnpm_registry.store.schema import versions

_ROWS = 4
PAGE_BYTES = 16 << 20
"""A page of versions must fit into a message, and into memory."""


def find(connection: Connection, package: str, version: str) -> Version | None:
    """A published version, if there is one."""
    row = connection.execute(
        select(versions).where(versions.c.package == package, versions.c.version == version)
    ).one_or_none()
    return rows.version(row) if row is not None else None


def get(connection: Connection, package: str, version: str) -> Version:
    """A published version. Raises NotFound VERSION_NOT_FOUND, listing those there are."""
    found = find(connection, package, version)
    if found is None:
        raise not_found(connection, package, version)
    return found


def not_found(connection: Connection, package: str, version: str) -> NotFound:
    """The error of a version that is not there."""
    there = [entry.version for entry in listing(connection, package)][:10]
    hint = f"published are: {', '.join(there)}" if there else "nothing is published under that name"
    return NotFound(
        "VERSION_NOT_FOUND",
        f"{package} has no version {version}",
        hint=hint,
        metadata={"package": package, "version": version},
    )


def listing(connection: Connection, package: str) -> Sequence[Listed]:
    """All published versions of a package, highest first."""
    query = (
        select(versions.c.version, versions.c.yanked)
        .where(versions.c.package == package)
        .order_by(versions.c.precedence.desc())
    )
    return [rows.listed(row) for row in connection.execute(query)]


def page(
    connection: Connection, package: str, below: bytes | None, limit: int, most_bytes: int = PAGE_BYTES
) -> Sequence[Version]:
    """Published versions, highest first; those below `below`. Fewer than `limit` when their manifests are large."""
    query = select(versions).where(versions.c.package == package)
    if below is not None:
        query = query.where(versions.c.precedence < below)
    query = query.order_by(versions.c.precedence.desc()).limit(limit)
    found: list[Version] = []
    size = 0
    for row in connection.execute(query, execution_options={"yield_per": _ROWS}):
        size += len(row.manifest) + len(row.report)
        if found and size > most_bytes:
            break
        found.append(rows.version(row))
    return found


def count_below(connection: Connection, package: str, key: bytes) -> int:
    """How many published versions there are below a precedence."""
    query = select(func.count()).where(versions.c.package == package, versions.c.precedence < key)
    return int(connection.execute(query).scalar_one())


def set_yanked(connection: Connection, package: str, version: str, *, yanked: bool, reason: str) -> Version:
    """Yanks a version or takes that back; `latest` follows."""
    before = get(connection, package, version)
    connection.execute(
        update(versions)
        .where(versions.c.package == package, versions.c.version == version)
        .values(yanked=yanked, yank_reason=reason)
    )
    if before.yanked != yanked:
        kind = EventType.VERSION_YANKED if yanked else EventType.VERSION_UNYANKED
        events.append(connection, kind, package, version)
        tags.refresh_latest(connection, package)
    return get(connection, package, version)


def add(connection: Connection, version: Version, *, precedence: bytes, report: str, referrer: str) -> None:
    """Makes a version visible, in the transaction of its commit."""
    time = rows.now()
    connection.execute(
        insert(versions).values(
            package=version.package,
            version=version.version,
            precedence=precedence,
            digest=version.digest,
            manifest=version.manifest,
            size=version.size,
            license=version.license,
            report=report,
            referrer=referrer,
            yanked=False,
            yank_reason="",
            create_time=int(version.create_time.timestamp() * 1_000_000),
            publish_time=time,
        )
    )
    events.append(connection, EventType.VERSION_COMMITTED, version.package, version.version)
