"""Sessions: who lives, what is sent, and what is made of a worker's end."""

import asyncio

import pytest

from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.failures import WORKER_LOST, LoadError, LoadFailures
from nnpm_scheduler.control.fleet import Fleet, Replica, ReplicaState, Report, WorkerFacts
from nnpm_scheduler.control.sessions import (
    MOST_REMEMBERED,
    CancelCommand,
    LoadCommand,
    Session,
    Sessions,
    UnloadCommand,
)
from support.desired_state import revision

READY = Replica("r1", ReplicaState.READY)


class Audits:
    """The dispatch path: counts how often it was told of a loss."""

    def __init__(self) -> None:
        self.lost = 0

    def worker_lost(self) -> None:
        self.lost += 1


@pytest.fixture
def audits() -> Audits:
    return Audits()


@pytest.fixture
def failures() -> LoadFailures:
    return LoadFailures()


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(Changes())


@pytest.fixture
def sessions(fleet: Fleet, failures: LoadFailures, audits: Audits) -> Sessions:
    return Sessions(fleet, failures, audits)


def hello(sessions: Sessions, name: str = "a", *replicas: Replica) -> Session:
    return sessions.open(WorkerFacts(name, name), replicas)


async def test_a_worker_lives_from_hello_to_the_streams_end(sessions: Sessions, fleet: Fleet, audits: Audits) -> None:
    session = hello(sessions, "a", READY)
    assert list(sessions.live()) == ["a"]
    assert fleet.workers[0].has("r1", ReplicaState.READY)
    sessions.lost(session)
    sessions.lost(session)
    assert not sessions.live()
    assert not fleet.workers
    assert audits.lost == 1


async def test_a_new_session_of_the_same_worker_replaces_the_old_one(
    sessions: Sessions, fleet: Fleet, audits: Audits
) -> None:
    old = hello(sessions, "a")
    new = hello(sessions, "a", READY)
    assert old.closed
    assert not new.closed
    sessions.report(old, Report("r1", None))
    sessions.lost(old)
    assert fleet.workers[0].has("r1")
    assert not audits.lost


async def test_a_load_counts_as_loading_before_the_worker_says_so(sessions: Sessions, fleet: Fleet) -> None:
    session = hello(sessions)
    sessions.load("a", 7, revision(1))
    assert fleet.workers[0].has("r1", ReplicaState.LOADING)
    assert await session.next_command(1.0) == LoadCommand(7, revision(1))
    sessions.unload("a", 7, "r1")
    assert fleet.workers[0].has("r1", ReplicaState.UNLOADING)
    assert await session.next_command(1.0) == UnloadCommand(7, "r1")


async def test_commands_for_a_worker_that_is_gone_are_dropped(sessions: Sessions, fleet: Fleet) -> None:
    sessions.load("nobody", 7, revision(1))
    assert not fleet.workers


async def test_only_workers_that_have_the_revision_hear_of_a_cancellation(sessions: Sessions) -> None:
    has, has_not = hello(sessions, "a", READY), hello(sessions, "b")
    sessions.cancel("r1", [1, 2])
    assert await has.next_command(1.0) == CancelCommand((1, 2))
    assert await has_not.next_command(0.01) is None


async def test_a_failed_load_is_recorded_and_a_ready_one_forgets_it(
    sessions: Sessions, fleet: Fleet, failures: LoadFailures
) -> None:
    session = hello(sessions, "a", Replica("r1", ReplicaState.LOADING))
    error = LoadError("MODEL_LOAD_FAILED", "no ONNX file", transient=False)
    sessions.report(session, Report("r1", None, error))
    attempts = failures.get("r1")
    assert attempts is not None
    assert attempts.last == error
    assert not fleet.workers[0].has("r1")
    sessions.report(session, Report("r1", READY))
    assert failures.get("r1") is None


async def test_a_worker_lost_while_loading_is_a_failed_attempt(sessions: Sessions, failures: LoadFailures) -> None:
    session = hello(sessions, "a", Replica("r1", ReplicaState.LOADING), Replica("r2", ReplicaState.READY))
    sessions.lost(session)
    attempts = failures.get("r1")
    assert attempts is not None
    assert attempts.last.reason == WORKER_LOST
    assert failures.get("r2") is None


async def test_closing_ends_every_stream_at_once(sessions: Sessions) -> None:
    session = hello(sessions)
    waiting = asyncio.create_task(session.next_command(60.0))
    await asyncio.sleep(0)
    sessions.close()
    async with asyncio.timeout(1.0):
        assert await waiting is None
    assert session.closed


async def test_a_drain_outlives_a_broken_session(sessions: Sessions, fleet: Fleet) -> None:
    session = hello(sessions)
    fleet.drain("a")
    sessions.lost(session)
    hello(sessions)
    assert fleet.workers[0].draining


async def test_a_worker_that_leaves_serves_nobody_and_has_failed_at_nothing(
    sessions: Sessions, fleet: Fleet, failures: LoadFailures, audits: Audits
) -> None:
    session = hello(sessions, "a", READY, Replica("r2", ReplicaState.LOADING))
    sessions.leaving(session)
    assert fleet.workers[0].draining
    assert fleet.workers[0].has("r1", ReplicaState.UNLOADING)
    sessions.lost(session)
    assert failures.get("r2") is None
    assert audits.lost == 1


async def test_a_worker_is_away_from_the_loss_of_its_session_until_it_has_one_again(sessions: Sessions) -> None:
    assert sessions.away("a") == float("inf")
    sessions.lost(hello(sessions, "a"))
    assert 0 <= sessions.away("a") < 60
    hello(sessions, "a")
    assert sessions.away("a") == float("inf")


async def test_lost_workers_are_remembered_in_bounded_number(sessions: Sessions) -> None:
    for number in range(MOST_REMEMBERED + 2):
        sessions.lost(hello(sessions, str(number)))
    assert sessions.away("1") == float("inf")
    assert sessions.away(str(MOST_REMEMBERED)) < 60
