"""Desired state in SQL survives, and two schedulers see each other's changes."""

from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from nnpm.errors import Aborted, AlreadyExists, NotFound
from nnpm.sql.database import Database
from nnpm_scheduler.control.deployments import Failure
from nnpm_scheduler.control.schema import metadata
from nnpm_scheduler.control.store import Creation, Store
from support.desired_state import deployment, revision

ASKED = Creation("", "d")
ONE, TWO = revision(1), revision(2)


async def test_a_deployment_reads_back_as_it_was_written(store: Store) -> None:
    written = deployment(ONE)
    await store.create(written, ASKED)
    reading = await store.read(-1)
    assert reading is not None
    assert reading.changed == (written,)
    assert reading.names == {"acme-tiny": written.uid}


async def test_the_migrations_make_the_schema(database: Database) -> None:
    difference = await database.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    assert difference == []


async def test_only_what_changed_is_read_again(store: Store) -> None:
    await store.create(deployment(ONE), ASKED)
    other = deployment(revision(1, id="other"), name="other")
    await store.create(other, ASKED)
    first = await store.read(-1)
    assert first is not None
    assert await store.read(first.count) is None
    await store.promote(other.uid, 1)
    second = await store.read(first.count)
    assert second is not None
    assert [each.name for each in second.changed] == ["other"]
    assert second.changed[0].serving == other.newest


async def test_a_deleted_deployment_is_missed(store: Store) -> None:
    written = await store.create(deployment(ONE), ASKED)
    before = await store.read(-1)
    assert before is not None
    await store.delete(written)
    after = await store.read(before.count)
    assert after is not None
    assert after.names == {}
    with pytest.raises(NotFound):
        await store.revision(written, 1)


async def test_a_name_is_taken_once(store: Store) -> None:
    await store.create(deployment(ONE), ASKED)
    with pytest.raises(AlreadyExists) as refused:
        await store.create(replace(deployment(ONE), uid="another"), ASKED)
    assert refused.value.reason == "DEPLOYMENT_EXISTS"


async def test_a_name_is_free_again_after_deletion(store: Store) -> None:
    await store.delete(await store.create(deployment(ONE), Creation("a", "d")))
    await store.create(replace(deployment(ONE), uid="another"), Creation("a", "other"))


async def test_a_repeated_request_answers_the_first_deployment(store: Store) -> None:
    first = await store.create(deployment(ONE), Creation("a", "d"))
    assert await store.create(replace(deployment(ONE), uid="another"), Creation("a", "d")) == first
    with pytest.raises(AlreadyExists) as refused:
        await store.create(replace(deployment(ONE), uid="another"), Creation("a", "other"))
    assert refused.value.reason == "REQUEST_ID_REUSED"


async def test_the_second_of_two_concurrent_changes_is_refused(store: Store) -> None:
    before = await store.create(deployment(ONE), ASKED)
    after = await store.change(before, paused=False, revision=TWO)
    assert (after.newest, after.generation) == (TWO, before.generation + 1)
    for attempt in (store.change(before, paused=True), store.delete(before)):
        with pytest.raises(Aborted) as refused:
            await attempt
        assert refused.value.reason == "DEPLOYMENT_CHANGED"


async def test_a_superseded_revision_is_not_promoted(store: Store) -> None:
    before = await store.create(deployment(ONE), ASKED)
    await store.change(before, paused=False, revision=TWO)
    await store.promote(before.uid, 1)
    reading = await store.read(-1)
    assert reading is not None
    assert reading.changed[0].serving is None


async def test_a_failure_is_kept_until_it_is_cleared(store: Store) -> None:
    before = await store.create(deployment(ONE), ASKED)
    await store.set_failure(before.uid, 1, Failure("X", "why"))
    assert (await store.revision(before, 1)).failure == Failure("X", "why")
    await store.set_failure(before.uid, 1, None)
    assert (await store.revision(before, 1)).failure is None


async def test_revisions_come_newest_first_in_pages(store: Store) -> None:
    current = await store.create(deployment(ONE), ASKED)
    for number in range(2, 6):
        current = await store.change(current, paused=False, revision=revision(number))
    first = await store.revisions(current.uid, None, 2)
    assert [each.number for each in first] == [5, 4]
    assert [each.number for each in await store.revisions(current.uid, 4, 10)] == [3, 2, 1]


async def test_the_fencing_token_only_grows(store: Store) -> None:
    assert await store.fencing_token() == 0
    await store.record_fencing_token(7)
    await store.record_fencing_token(3)
    assert await store.fencing_token() == 7
