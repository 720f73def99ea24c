"""What this worker has in hand: every entry that it has read and whose XACK is not answered yet."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from nnpm.queue.entry import Entry
from nnpm_worker.requests import Job

_MOST_EARLY_CANCELS = 10_000

StreamId = bytes


class HeldState(Enum):
    """What is to happen with an entry next."""

    PARKED = auto()
    """No Session with its scheduler: neither run nor dropped."""
    WAITING = auto()
    RUNNING = auto()
    """From the start of its batch until its Deliver is answered."""
    DONE = auto()
    """To be deleted and acknowledged."""


@dataclass(slots=True, eq=False)
class Held:
    """An entry in hand."""

    revision: str
    id: StreamId
    entry: Entry
    jobs: list[Job]
    state: HeldState

    @property
    def rows(self) -> int:
        """Of all its requests, as far as they show: one for each whose layout does not tell."""
        return sum([job.rows for job in self.jobs])

    @property
    def claimed_bytes(self) -> int:
        """What has to be fetched before it can run."""
        return sum([job.block.claim_size for job in self.jobs])


class Hands:
    """The entries in hand, by stream and id. All methods are called on the event loop."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, StreamId], Held] = {}
        self._jobs: dict[tuple[str, int], Job] = {}
        # Ids without a body that this worker can use: only to be acknowledged.
        self._empty: set[tuple[str, StreamId]] = set()
        # To be acknowledged, and in no pipeline that Redis has not answered.
        self._unsent: dict[str, list[StreamId]] = {}
        # A cancellation may come before its entry is read.
        self._early_cancels: OrderedDict[tuple[str, int], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held) + len(self._empty)

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._held.values()))

    def __contains__(self, place: tuple[str, StreamId]) -> bool:
        return place in self._held

    @property
    def requests(self) -> int:
        """Requests that are not answered yet."""
        return sum([job.block.count for job in self._jobs.values()])

    def add(self, held: Held) -> None:
        """Take an entry."""
        self._held[held.revision, held.id] = held
        for job in held.jobs:
            self._jobs[held.entry.scheduler, job.block.number] = job
            if self._early_cancels:
                numbers = range(job.block.number, job.block.number + job.block.count)
                early = self._early_cancels
                job.cancelled |= {n - job.block.number for n in numbers if (held.entry.scheduler, n) in early}

    def add_empty(self, revision: str, entry_id: StreamId) -> None:
        """Take an id that has nothing to run."""
        self._empty.add((revision, entry_id))
        self._unsent.setdefault(revision, []).append(entry_id)

    def of(self, revision: str) -> bool:
        """Whether anything of a revision is in hand."""
        return any(held.revision == revision for held in self._held.values()) or any(
            whose == revision for whose, _ in self._empty
        )

    def in_state(self, state: HeldState) -> list[Held]:
        """In the order in which they came."""
        return [held for held in self._held.values() if held.state is state]

    def cancel(self, scheduler: str, numbers: Iterable[int]) -> None:
        """Nobody waits for these any more."""
        for number in numbers:
            job = self._job_of(scheduler, number)
            if job is not None:
                job.cancelled.add(number - job.block.number)
            else:
                self._early_cancels[scheduler, number] = None
        while len(self._early_cancels) > _MOST_EARLY_CANCELS:
            self._early_cancels.popitem(last=False)

    def _job_of(self, scheduler: str, number: int) -> Job | None:
        """The job that a request belongs to: few are in hand, and few are cancelled."""
        for (whose, first), job in self._jobs.items():
            if whose == scheduler and first <= number < first + job.block.count:
                return job
        return None

    def done(self, held: Held) -> None:
        """Its Deliver was answered, or its scheduler is gone."""
        self._let_go(held)
        self._unsent.setdefault(held.revision, []).append(held.id)

    def forget(self, held: Held) -> None:
        """It is no longer a pending entry of this worker: somebody took it back."""
        self._let_go(held)
        self._held.pop((held.revision, held.id), None)

    def to_acknowledge(self, revision: str) -> list[StreamId]:
        """Ids to delete and acknowledge, given out once. They stay in hand until `acknowledged`."""
        return self._unsent.pop(revision, [])

    def acknowledge_again(self, revision: str) -> None:
        """The connection broke: whatever was given out and not answered for is to be given out once more."""
        unsent = [held.id for held in self._held.values() if held.state is HeldState.DONE and held.revision == revision]
        unsent += [entry_id for whose, entry_id in self._empty if whose == revision]
        if unsent:
            self._unsent[revision] = unsent

    def acknowledged(self, revision: str, ids: Iterable[StreamId]) -> None:
        """Redis answered."""
        for entry_id in ids:
            self._held.pop((revision, entry_id), None)
            self._empty.discard((revision, entry_id))

    def _let_go(self, held: Held) -> None:
        held.state = HeldState.DONE
        for job in held.jobs:
            self._jobs.pop((held.entry.scheduler, job.block.number), None)
            job.drop()  # the entry stays until its XACK is answered
