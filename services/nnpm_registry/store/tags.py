"""Tags, `latest` among them."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update

from nnpm.errors import Aborted, FailedPrecondition, NotFound
from nnpm.package.references import LATEST
from nnpm_registry.records import EventType, Tag
from nnpm_registry.store import events, rows
from nnpm_registry.store.schema import packages, tags, versions


def find(connection: Connection, package: str, tag: str) -> Tag | None:
    """A tag, if there is one."""
    row = connection.execute(select(tags).where(tags.c.package == package, tags.c.tag == tag)).one_or_none()
    return rows.tag(row) if row is not None else None


def page(connection: Connection, package: str, after: str, limit: int) -> Sequence[Tag]:
    """A package's tags by name, behind `after`."""
    query = select(tags).where(tags.c.package == package, tags.c.tag > after).order_by(tags.c.tag).limit(limit)
    return [rows.tag(row) for row in connection.execute(query)]


def move(connection: Connection, package: str, tag: str, version: str, etag: str) -> Tag:
    """Makes a tag, or points it elsewhere. With `etag`, only where the tag still has it."""
    row = connection.execute(
        select(versions.c.yanked, versions.c.yank_reason).where(
            versions.c.package == package, versions.c.version == version
        )
    ).one_or_none()
    if row is None:
        raise NotFound(
            "VERSION_NOT_FOUND",
            f"{package} has no version {version} that a tag could name",
            hint=f"nnpm versions {package} lists them",
            metadata={"package": package, "version": version},
        )
    if row.yanked:
        raise FailedPrecondition(
            "VERSION_YANKED",
            f"{package} {version} was yanked; a tag must name a version that can be chosen",
            hint="tag another version, or unyank this one first",
            metadata={"package": package, "version": version},
        )
    found = find(connection, package, tag)
    check_etag(etag, found.etag if found else "", f"tag {tag!r} of {package}")
    if found is not None and found.version == version:
        return found
    _point(connection, package, tag, version, exists=found is not None)
    moved = find(connection, package, tag)
    assert moved is not None  # noqa: S101 -- written above
    return moved


def remove(connection: Connection, package: str, tag: str) -> None:
    """Deletes a tag."""
    found = find(connection, package, tag)
    if found is None:
        raise NotFound("TAG_NOT_FOUND", f"{package} has no tag {tag!r}", metadata={"package": package, "tag": tag})
    connection.execute(delete(tags).where(tags.c.package == package, tags.c.tag == tag))
    events.append(connection, EventType.TAG_DELETED, package, found.version, tag)


def refresh_latest(connection: Connection, package: str) -> None:
    """Points `latest` at the highest release that is not yanked; without one there is no such tag.

    Called in the transaction of whatever changes which versions there are.
    """
    wanted = _highest_release(connection, package)
    found = find(connection, package, LATEST)
    if wanted == (found.version if found else None):
        return
    if wanted is None:
        remove(connection, package, LATEST)
    else:
        _point(connection, package, LATEST, wanted, exists=found is not None)
    # `latest_version` is a part of the package, as its readers see it.
    connection.execute(
        update(packages).where(packages.c.name == package).values(etag=rows.new_token(), update_time=rows.now())
    )


def check_etag(stated: str, current: str, what: str) -> None:
    """Raises Aborted ETAG_MISMATCH when a caller acted on a state that is no longer the current one."""
    if stated and stated != current:
        raise Aborted(
            "ETAG_MISMATCH",
            f"{what} was changed by somebody else meanwhile",
            hint="read it again, then decide anew",
        )


def _highest_release(connection: Connection, package: str) -> str | None:
    query = (
        select(versions.c.version)
        .where(versions.c.package == package, versions.c.yanked.is_(False))
        .order_by(versions.c.precedence.desc())
    )
    for (version,) in connection.execute(query):
        if "-" not in version.partition("+")[0]:
            return str(version)
    return None


def _point(connection: Connection, package: str, tag: str, version: str, *, exists: bool) -> None:
    facts = {"version": version, "update_time": rows.now(), "etag": rows.new_token()}
    if exists:
        connection.execute(update(tags).where(tags.c.package == package, tags.c.tag == tag).values(**facts))
    else:
        connection.execute(insert(tags).values(package=package, tag=tag, **facts))
    events.append(connection, EventType.TAG_MOVED, package, version, tag)
