"""Entries read are run, parked, dropped, or left to others."""

import time

import pytest

from nnpm.api.worker.v1.envelope_pb2 import Envelope
from nnpm.queue.entry import Block, Encoder, Entry
from nnpm_worker.hands import Hands, HeldState
from nnpm_worker.intake import Intake
from nnpm_worker.stream import Received

SECOND = 1_000_000_000


class Mesh:
    """Clock offsets of the schedulers with a Session, and those that are gone."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {"known": 0}
        self.gone: set[str] = set()
        self.hands = Hands()
        self.intake = Intake(self.hands, self.offsets.get, lambda scheduler, _address: scheduler in self.gone)

    def read(self, scheduler: str = "known", entry_id: bytes = b"1-0", **fields: int) -> Received:
        block = Block(1, 2, 1, fields.get("deadline_ns", 0), fields.get("admitted_ns", 0), body=b"body")
        return Received("r", entry_id, Encoder().encode(Entry(scheduler, "unix:/x", (block,))))


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


def test_deadlines_come_onto_this_process_clock(mesh: Mesh) -> None:
    mesh.offsets["known"] = 100 * SECOND
    now = time.monotonic_ns()
    (held,) = mesh.intake.accept([mesh.read(deadline_ns=now + 101 * SECOND, admitted_ns=now + 99 * SECOND)])
    (job,) = held.jobs
    assert (job.deadline_ns, job.admitted_ns) == (now + SECOND, now - SECOND)
    assert job.received_ns >= now
    assert held.state is HeldState.WAITING


def test_an_entry_is_taken_once(mesh: Mesh) -> None:
    assert len(mesh.intake.accept([mesh.read()])) == 1
    assert mesh.intake.accept([mesh.read()]) == []


def test_an_entry_of_an_unknown_scheduler_is_parked_until_there_is_a_session(mesh: Mesh) -> None:
    (held,) = mesh.intake.accept([mesh.read("stranger", deadline_ns=5 * SECOND)])
    mesh.intake.sort_parked()
    assert held.state is HeldState.PARKED
    mesh.offsets["stranger"] = SECOND
    assert mesh.intake.sort_parked() == [held]
    assert held.state is HeldState.WAITING
    assert held.jobs[0].deadline_ns == 4 * SECOND
    mesh.hands.cancel("stranger", [1])
    assert held.jobs[0].cancelled


def test_an_entry_of_a_scheduler_that_is_gone_is_done_with(mesh: Mesh) -> None:
    mesh.intake.accept([mesh.read("stranger")])
    mesh.gone.add("stranger")
    mesh.intake.sort_parked()
    assert mesh.hands.to_acknowledge("r") == [b"1-0"]


def test_a_parked_entry_that_was_taken_back_is_forgotten(mesh: Mesh) -> None:
    mesh.intake.accept([mesh.read("stranger", b"1-0"), mesh.read("stranger", b"2-0")])
    mesh.intake.forget_taken_back("another", [])
    mesh.intake.forget_taken_back("r", [b"2-0"])
    assert ("r", b"1-0") not in mesh.hands
    assert ("r", b"2-0") in mesh.hands
    assert mesh.hands.to_acknowledge("r") == []


@pytest.mark.parametrize("data", [None, b"\xff\xff"])
def test_what_nothing_can_come_of_is_only_acknowledged(data: bytes | None, mesh: Mesh) -> None:
    assert mesh.intake.accept([Received("r", b"1-0", data)]) == []
    assert mesh.hands.to_acknowledge("r") == [b"1-0"]


def test_an_entry_of_a_newer_format_is_left_to_a_newer_worker(mesh: Mesh) -> None:
    newer = Envelope(format_version=99, scheduler="known").SerializeToString()
    assert mesh.intake.accept([Received("r", b"1-0", newer)]) == []
    assert len(mesh.hands) == 0
    assert mesh.hands.to_acknowledge("r") == []
