"""Desired state in SQL: what a scheduler must still know after it was killed.

Every change adds one to the counter `changes` and stamps the deployment with it, so that a scheduler reads again only
what has changed since it last looked, whoever changed it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, select, update

from nnpm.errors import Aborted, AlreadyExists, NotFound
from nnpm.sql.database import Database
from nnpm_scheduler.control.deployments import Deployment, Failure, Revision
from nnpm_scheduler.control.rows import AnyRow, deployment_of, microseconds, revision_of, revision_values, storable
from nnpm_scheduler.control.schema import counters, deployments, revisions


@dataclass(frozen=True, slots=True)
class Creation:
    """Identifies a request to create: `request_id` (empty: none) and a digest of what was asked for."""

    request_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What has changed since the last reading.

    Attributes:
        count: the counter's value; hand it in the next time.
        names: name -> uid of all deployments.
        changed: the deployments that are new or different.
    """

    count: int
    names: Mapping[str, str]
    changed: tuple[Deployment, ...]


class Store:
    """The scheduler's memory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, since: int) -> Reading | None:
        """What has changed since the reading whose count was `since` (-1: all); None when nothing has."""
        return await self._database.read(_read, since)

    async def created(self, creation: Creation) -> Deployment | None:
        """The deployment that an earlier attempt of the same request made. Raises AlreadyExists REQUEST_ID_REUSED."""
        return await self._database.read(_created, creation)

    async def create(self, deployment: Deployment, creation: Creation) -> Deployment:
        """Remember a new deployment; answers the first one when the request is a repeated one.

        Raises AlreadyExists: DEPLOYMENT_EXISTS, REQUEST_ID_REUSED.
        """
        return await self._database.write(_create, deployment, creation)

    async def change(self, before: Deployment, *, paused: bool, revision: Revision | None = None) -> Deployment:
        """Pause or resume, or make `revision` the newest. Raises Aborted DEPLOYMENT_CHANGED when `before` is old."""
        return await self._database.write(_change, before, paused, revision)

    async def delete(self, before: Deployment) -> None:
        """Forget the deployment and its revisions. Raises Aborted DEPLOYMENT_CHANGED when `before` is old."""
        await self._database.write(_delete, before)

    async def promote(self, uid: str, number: int) -> None:
        """The newest revision, if it is still this one, takes calls from now on."""
        await self._database.write(_promote, uid, number)

    async def set_failure(self, uid: str, number: int, failure: Failure | None) -> None:
        """The revision cannot be loaded, or (None) may be tried again."""
        await self._database.write(_set_failure, uid, number, failure)

    async def revision(self, deployment: Deployment, number: int) -> Revision:
        """Raises NotFound REVISION_NOT_FOUND."""
        return await self._database.read(_revision, deployment, number)

    async def revisions(self, uid: str, below: int | None, limit: int) -> list[Revision]:
        """A deployment's revisions, newest first, at most `limit`, only numbers below `below`."""
        return await self._database.read(_revisions, uid, below, limit)

    async def fencing_token(self) -> int:
        """The greatest fencing token that a leader has used."""
        return await self._database.read(_counter, "fencing")

    async def record_fencing_token(self, token: int) -> None:
        """A leader is about to use `token`."""
        await self._database.write(_record_fencing_token, token)

    async def check(self) -> None:
        """Raises Unavailable DATABASE_UNAVAILABLE unless the database answers."""
        await self._database.check()


def _read(connection: Connection, since: int) -> Reading | None:
    count = _counter(connection, "changes")
    if count == since:
        return None
    names = {row.name: row.uid for row in connection.execute(select(deployments.c.name, deployments.c.uid))}
    rows = connection.execute(select(deployments).where(deployments.c.changed > since)).all()
    return Reading(count, names, tuple(_deployment(connection, row) for row in rows))


def _created(connection: Connection, creation: Creation) -> Deployment | None:
    if not creation.request_id:
        return None
    row = connection.execute(select(deployments).where(deployments.c.request_id == creation.request_id)).one_or_none()
    if row is None:
        return None
    if row.request_digest != creation.digest:
        raise AlreadyExists(
            "REQUEST_ID_REUSED",
            f"request id {creation.request_id} was used to create deployment {row.name} with another request",
            metadata={"deployment": row.name},
        )
    return _deployment(connection, row)


def _create(connection: Connection, deployment: Deployment, creation: Creation) -> Deployment:
    first = _created(connection, creation)
    if first is not None:
        return first
    if connection.execute(select(deployments.c.uid).where(deployments.c.name == deployment.name)).first():
        raise AlreadyExists(
            "DEPLOYMENT_EXISTS",
            f"a deployment named {deployment.name} exists already",
            hint="update it, or choose another name (--name)",
            metadata={"deployment": deployment.name},
        )
    connection.execute(
        insert(deployments).values(
            uid=deployment.uid,
            name=deployment.name,
            generation=deployment.generation,
            paused=deployment.paused,
            newest=deployment.newest.number,
            serving=0,
            request_id=creation.request_id or None,
            request_digest=creation.digest,
            changed=_next_change(connection),
            create_time=microseconds(deployment.create_time),
            update_time=microseconds(deployment.update_time),
        )
    )
    connection.execute(insert(revisions).values(revision_values(deployment.uid, deployment.newest)))
    return deployment


def _change(connection: Connection, before: Deployment, paused: bool, revision: Revision | None) -> Deployment:
    newest = revision or before.newest
    result = connection.execute(
        update(deployments)
        .where(deployments.c.uid == before.uid, deployments.c.generation == before.generation)
        .values(
            generation=before.generation + 1,
            paused=paused,
            newest=newest.number,
            changed=_next_change(connection),
            update_time=microseconds(datetime.now(UTC)),
        )
    )
    if not result.rowcount:
        raise _changed(before)
    if revision is not None:
        connection.execute(insert(revisions).values(revision_values(before.uid, revision)))
    return _deployment(connection, connection.execute(select(deployments).where(deployments.c.uid == before.uid)).one())


def _delete(connection: Connection, before: Deployment) -> None:
    result = connection.execute(
        delete(deployments).where(deployments.c.uid == before.uid, deployments.c.generation == before.generation)
    )
    if not result.rowcount:
        raise _changed(before)
    _next_change(connection)


def _promote(connection: Connection, uid: str, number: int) -> None:
    connection.execute(
        update(deployments)
        .where(deployments.c.uid == uid, deployments.c.newest == number)
        .values(serving=number, changed=_next_change(connection))
    )


def _set_failure(connection: Connection, uid: str, number: int, failure: Failure | None) -> None:
    connection.execute(
        update(revisions)
        .where(revisions.c.deployment == uid, revisions.c.number == number)
        .values(
            failure_reason=failure.reason if failure else None,
            failure_message=storable(failure.message) if failure else None,
        )
    )
    connection.execute(update(deployments).where(deployments.c.uid == uid).values(changed=_next_change(connection)))


def _revision(connection: Connection, deployment: Deployment, number: int) -> Revision:
    row = connection.execute(
        select(revisions).where(revisions.c.deployment == deployment.uid, revisions.c.number == number)
    ).one_or_none()
    if row is None:
        raise NotFound(
            "REVISION_NOT_FOUND",
            f"deployment {deployment.name} has no revision {number}; the newest is {deployment.newest.number}",
            metadata={"deployment": deployment.name, "revision": str(number)},
        )
    return revision_of(row)


def _revisions(connection: Connection, uid: str, below: int | None, limit: int) -> list[Revision]:
    query = select(revisions).where(revisions.c.deployment == uid).order_by(revisions.c.number.desc()).limit(limit)
    if below is not None:
        query = query.where(revisions.c.number < below)
    return [revision_of(row) for row in connection.execute(query)]


def _record_fencing_token(connection: Connection, token: int) -> None:
    connection.execute(
        update(counters).where(counters.c.name == "fencing", counters.c.value < token).values(value=token)
    )


def _counter(connection: Connection, name: str) -> int:
    return int(connection.execute(select(counters.c.value).where(counters.c.name == name)).scalar_one())


def _next_change(connection: Connection) -> int:
    """Also keeps two writers of different processes apart: the second waits for the row."""
    connection.execute(update(counters).where(counters.c.name == "changes").values(value=counters.c.value + 1))
    return _counter(connection, "changes")


def _deployment(connection: Connection, row: AnyRow) -> Deployment:
    wanted = {row.newest, row.serving}
    found = {
        revision.number: revision_of(revision)
        for revision in connection.execute(
            select(revisions).where(revisions.c.deployment == row.uid, revisions.c.number.in_(wanted))
        )
    }
    return deployment_of(row, found[row.newest], found.get(row.serving))


def _changed(before: Deployment) -> Aborted:
    return Aborted(
        "DEPLOYMENT_CHANGED",
        f"deployment {before.name} was changed or deleted by somebody else at the same time",
        hint="read it again and repeat the change",
        metadata={"deployment": before.name},
        retry_after=0.1,
    )
