"""Versions on their way: drafts, claims on them, and what becomes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Update, delete, insert, select, update

from nnpm.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound
from nnpm.package.manifest import Manifest
from nnpm.package.versions import Version as Number
from nnpm_registry.precedence import precedence
from nnpm_registry.records import Draft, Rejection, Report, State, Version
from nnpm_registry.store import namespaces, packages, rows, tags, versions
from nnpm_registry.store.schema import drafts, releases
from nnpm_registry.store.schema import versions as published

_SECOND = 1_000_000


def create(connection: Connection, manifest: Manifest, request_id: str, keep_seconds: int) -> Version:
    """The draft of a manifest, or the version itself when the very same is published.

    Another manifest's draft of the same number is replaced, unless its commit is under way.
    """
    digest = manifest.digest()
    published = versions.find(connection, manifest.name, manifest.version)
    if published is not None:
        if published.digest != digest:
            raise taken(published)
        return published
    _check_request(connection, request_id, digest)
    row = _row(connection, manifest.name, manifest.version)
    expiry = rows.now() + keep_seconds * _SECOND
    if row is not None and row.digest == digest and row.state != State.REJECTED.value:
        connection.execute(_this(row).values(expire_time=expiry))
        return rows.drafted(row)
    if row is not None:
        _refuse_while_validating(row)
        _drop(connection, row)
    connection.execute(
        insert(drafts).values(
            package=manifest.name,
            version=manifest.version,
            id=rows.new_token(),
            state=State.DRAFT.value,
            digest=digest,
            manifest=manifest.canonical(),
            size=manifest.size,
            license=manifest.license,
            request_id=request_id or None,
            rejections="[]",
            create_time=rows.now(),
            expire_time=expiry,
            claim=None,
            claim_expire_time=0,
        )
    )
    return get(connection, manifest.name, manifest.version)


def get(connection: Connection, package: str, version: str) -> Version:
    """A version in any state. Raises NotFound VERSION_NOT_FOUND."""
    published = versions.find(connection, package, version)
    if published is not None:
        return published
    row = _row(connection, package, version)
    if row is None:
        raise versions.not_found(connection, package, version)
    return rows.drafted(row)


def remove(connection: Connection, package: str, version: str) -> None:
    """Deletes a draft or a refused version; its references are given back later."""
    row = _row(connection, package, version)
    if row is None:
        if versions.find(connection, package, version) is not None:
            raise FailedPrecondition(
                "VERSION_PUBLISHED",
                f"{package} {version} is published, and stays",
                hint=f"nnpm yank {package}@{version} keeps it from being chosen",
                metadata={"package": package, "version": version},
            )
        raise versions.not_found(connection, package, version)
    _refuse_while_validating(row)
    _drop(connection, row)


def claim(
    connection: Connection, package: str, version: str, digest: str, seconds: float
) -> tuple[Version, Draft | None, str]:
    """Takes the draft for a commit: what it is now, and, when the caller is to commit it, the draft and its claim.

    Without a draft to commit the version says why: READY, REJECTED, or VALIDATING by another.
    """
    published = versions.find(connection, package, version)
    if published is not None:
        if published.digest != digest:
            raise taken(published)
        return published, None, ""
    row = _row(connection, package, version)
    if row is None:
        raise NotFound(
            "VERSION_NOT_FOUND",
            f"there is no draft of {package} {version}",
            hint="create the version first; a draft that is not committed expires",
            metadata={"package": package, "version": version},
        )
    if row.digest != digest:
        raise FailedPrecondition(
            "DRAFT_CHANGED",
            f"the draft of {package} {version} is {row.digest}, not {digest[:80]}",
            hint="somebody else drafts the same version: agree on a number, then create it again",
            metadata={"package": package, "version": version},
        )
    return _claimed(connection, row, seconds)


def claim_abandoned(connection: Connection, seconds: float) -> tuple[Draft, str] | None:
    """Takes a draft whose commit began and was never ended: its process died, or its caller went away."""
    query = select(drafts).where(drafts.c.state == State.VALIDATING.value, drafts.c.claim_expire_time <= rows.now())
    row = connection.execute(query.order_by(drafts.c.claim_expire_time).limit(1)).one_or_none()
    if row is None:
        return None
    _, draft, claim = _claimed(connection, row, seconds)
    return (draft, claim) if draft is not None else None


def renew(connection: Connection, draft: Draft, claim: str, seconds: float) -> bool:
    """Keeps a claim. False when it is lost, and the commit must not go on."""
    return _update_claimed(connection, draft, claim, {"claim_expire_time": rows.now() + int(seconds * _SECOND)})


def let_go(connection: Connection, draft: Draft, claim: str, *, state: State) -> None:
    """Ends a claim without a result: DRAFT, for its caller to try again; VALIDATING, for upkeep to go on with soon."""
    changes = {"state": state.value, "claim": None, "claim_expire_time": rows.now()}
    _update_claimed(connection, draft, claim, changes)


def reject(connection: Connection, draft: Draft, claim: str, rejections: Sequence[Rejection]) -> Version:
    """Ends a claim: the version is refused, its references are to be given back."""
    changes = {"state": State.REJECTED.value, "rejections": rows.rejections_text(rejections), "claim": None}
    if not _update_claimed(connection, draft, claim, changes):
        raise _lost(draft)
    _release(connection, draft.referrer, draft.package)
    return get(connection, draft.package, draft.version)


def publish(connection: Connection, draft: Draft, claim: str, manifest: Manifest, report: Report) -> Version:
    """Ends a claim: version, package, namespace, `latest` and events appear in one transaction."""
    row = _row(connection, draft.package, draft.version)
    if row is None or row.id != draft.id or row.claim != claim:
        raise _lost(draft)
    connection.execute(delete(drafts).where(drafts.c.id == draft.id))
    namespaces.ensure(connection, manifest.package.namespace)
    versions.add(
        connection,
        rows.drafted(row),
        precedence=precedence(Number.parse(draft.version)),
        report=rows.report_text(report),
        referrer=draft.referrer,
    )
    packages.describe(connection, manifest)
    tags.refresh_latest(connection, draft.package)
    return versions.get(connection, draft.package, draft.version)


def expire(connection: Connection, limit: int) -> int:
    """Deletes drafts past their time; how many."""
    query = select(drafts).where(drafts.c.expire_time <= rows.now(), drafts.c.state != State.VALIDATING.value)
    found = connection.execute(query.limit(limit)).all()
    for row in found:
        _drop(connection, row)
    return len(found)


def to_release(connection: Connection, limit: int) -> Sequence[tuple[str, str]]:
    """(namespace, referrer) of references to give back."""
    query = select(releases.c.namespace, releases.c.referrer).limit(limit)
    return [(row.namespace, row.referrer) for row in connection.execute(query)]


def released(connection: Connection, referrer: str) -> None:
    """The artifact service has let go."""
    connection.execute(delete(releases).where(releases.c.referrer == referrer))


def release_if_dead(connection: Connection, draft: Draft) -> None:
    """Has an attempt's references given back, unless the attempt lives, or became the version."""
    lives = connection.execute(select(drafts.c.id).where(drafts.c.id == draft.id)).one_or_none()
    became = connection.execute(
        select(published.c.referrer).where(published.c.referrer == draft.referrer)
    ).one_or_none()
    if lives is None and became is None:
        _release(connection, draft.referrer, draft.package)


def taken(published: Version) -> AlreadyExists:
    """The error of a version number that is published with other content."""
    return AlreadyExists(
        "VERSION_TAKEN",
        f"{published.package} {published.version} is published with other content, and versions never change",
        hint="publish under the next version number",
        metadata={"package": published.package, "version": published.version, "digest": published.digest},
    )


def _row(connection: Connection, package: str, version: str) -> Row[Any] | None:
    query = select(drafts).where(drafts.c.package == package, drafts.c.version == version)
    return connection.execute(query).one_or_none()


def _check_request(connection: Connection, request_id: str, digest: str) -> None:
    if not request_id:
        return
    row = connection.execute(select(drafts).where(drafts.c.request_id == request_id)).one_or_none()
    if row is not None and row.digest != digest:
        raise AlreadyExists(
            "REQUEST_ID_REUSED",
            f"request id {request_id!r} was used for another manifest",
            hint="a request id belongs to one request and its retries",
        )


def _claimed(connection: Connection, row: Row[Any], seconds: float) -> tuple[Version, Draft | None, str]:
    live = row.state == State.VALIDATING.value and row.claim_expire_time > rows.now()
    if live or row.state == State.REJECTED.value:
        return rows.drafted(row), None, ""
    claim = rows.new_token()
    connection.execute(
        _this(row).values(
            state=State.VALIDATING.value, claim=claim, claim_expire_time=rows.now() + int(seconds * _SECOND)
        )
    )
    taken_row = _row(connection, row.package, row.version)
    assert taken_row is not None  # noqa: S101 -- updated above
    return rows.drafted(taken_row), rows.draft(taken_row), claim


def _update_claimed(connection: Connection, draft: Draft, claim: str, changes: Mapping[str, object]) -> bool:
    done = connection.execute(update(drafts).where(drafts.c.id == draft.id, drafts.c.claim == claim).values(**changes))
    return bool(done.rowcount)


def _this(row: Row[Any]) -> Update:
    return update(drafts).where(drafts.c.id == row.id)


def _refuse_while_validating(row: Row[Any]) -> None:
    if row.state == State.VALIDATING.value:
        raise FailedPrecondition(
            "COMMIT_IN_PROGRESS",
            f"{row.package} {row.version} is being checked by a commit",
            hint="wait for its result",
            metadata={"package": row.package, "version": row.version},
            retry_after=1,
        )


def _drop(connection: Connection, row: Row[Any]) -> None:
    draft = rows.draft(row)
    connection.execute(delete(drafts).where(drafts.c.id == draft.id))
    _release(connection, draft.referrer, draft.package)


def _release(connection: Connection, referrer: str, package: str) -> None:
    known = connection.execute(select(releases.c.referrer).where(releases.c.referrer == referrer)).one_or_none()
    if known is None:
        connection.execute(insert(releases).values(referrer=referrer, namespace=package.rpartition("/")[0]))


def _lost(draft: Draft) -> Aborted:
    return Aborted(
        "COMMIT_LOST",
        f"another commit of {draft.package} {draft.version} took over",
        hint="ask for the version's state, or commit again",
        retry_after=1,
    )
