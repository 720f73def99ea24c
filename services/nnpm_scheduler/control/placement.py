"""Which worker gets a replica: spread over the least loaded that have room, one replica of a revision a worker."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nnpm_scheduler.control.fleet import Worker


@dataclass(frozen=True, slots=True)
class Need:
    """A revision that wants replicas.

    Attributes:
        replicas: how many are still missing.
        memory: bytes that one takes: measured where it is loaded somewhere, else the size of its files.
        avoid: incarnations where it has failed to load: taken only when nobody else has room.
    """

    revision: str
    replicas: int
    memory: int
    runtime: str
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Assignment:
    """One replica to be loaded on one worker."""

    worker: str
    revision: str


@dataclass(frozen=True, slots=True)
class Placement:
    """What goes where, and for each revision that got fewer replicas than it needs, why."""

    assignments: tuple[Assignment, ...]
    shortages: Mapping[str, str]


def place(needs: Iterable[Need], workers: Iterable[Worker], memory: Mapping[str, int]) -> Placement:
    """Places as many of the needed replicas as there is room for, in the order of `needs`.

    Args:
        memory: bytes that a replica takes, by revision, for replicas whose worker has not measured them yet.
    """
    rooms = [_Room.of(worker, memory) for worker in workers if not worker.draining]
    assignments: list[Assignment] = []
    shortages: dict[str, str] = {}
    for need in needs:
        for _ in range(need.replicas):
            room = _roomiest(rooms, need)
            if room is None:
                shortages[need.revision] = _shortage(rooms, need)
                break
            room.take(need)
            assignments.append(Assignment(room.worker.incarnation, need.revision))
    return Placement(tuple(assignments), shortages)


@dataclass(slots=True)
class _Room:
    """A worker while replicas are being handed out. `free` is None when it does not say what it has."""

    worker: Worker
    free: int | None
    load: int
    revisions: set[str]

    @classmethod
    def of(cls, worker: Worker, memory: Mapping[str, int]) -> "_Room":
        used = sum(replica.memory or memory.get(replica.revision, 0) for replica in worker.replicas.values())
        free = worker.facts.memory - used if worker.facts.memory else None
        return cls(worker, free, len(worker.replicas), set(worker.replicas))

    def may_run(self, need: Need) -> bool:
        runtimes = self.worker.facts.runtimes
        return not runtimes or need.runtime in runtimes

    def is_free_of(self, need: Need) -> bool:
        return need.revision not in self.revisions

    def fits(self, need: Need) -> bool:
        return self.free is None or need.memory <= self.free

    def take(self, need: Need) -> None:
        self.load += 1
        self.revisions.add(need.revision)
        if self.free is not None:
            self.free -= need.memory


def _roomiest(rooms: Sequence[_Room], need: Need) -> _Room | None:
    """Fewest replicas first, then most free memory, then by name so that the choice is the same everywhere."""
    return min(
        (room for room in rooms if room.may_run(need) and room.is_free_of(need) and room.fits(need)),
        key=lambda room: (
            room.worker.incarnation in need.avoid,
            room.load,
            -(room.free or 0),
            room.worker.facts.name,
        ),
        default=None,
    )


def _shortage(rooms: Sequence[_Room], need: Need) -> str:
    """Why no worker takes another replica, for a person."""
    if not rooms:
        return "no worker is connected that takes replicas"
    able = [room for room in rooms if room.may_run(need)]
    if not able:
        return f"no connected worker has the runtime {need.runtime!r}"
    others = [room for room in able if room.is_free_of(need)]
    if not others:
        return f"workers that can run it: {len(able)}, and each holds one replica of a revision"
    most = max(room.free or 0 for room in others)
    return f"a replica takes {_bytes(need.memory)}, and no worker has more than {_bytes(max(most, 0))} left"


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
