"""What becomes of an entry that was read: taken in hand to be run, parked, dropped, or left to others."""

import time
from collections.abc import Callable, Collection, Sequence

from nnpm.errors import DataLoss, Unimplemented
from nnpm.queue.entry import Decoder, Entry
from nnpm.telemetry.logs import get_logger
from nnpm_worker.hands import Hands, Held, HeldState
from nnpm_worker.requests import Job
from nnpm_worker.stream import Received

_log = get_logger("intake")


class Intake:
    """Takes entries in hand.

    Args:
        hands: what is in hand.
        clock_offset_ns: a scheduler's monotonic clock minus ours; None without a Session with it.
        is_gone: whether the scheduler of that incarnation and address will never take an answer again.
    """

    def __init__(
        self, hands: Hands, clock_offset_ns: Callable[[str], int | None], is_gone: Callable[[str, str], bool]
    ) -> None:
        self._hands = hands
        self._decoder = Decoder()
        self._clock_offset_ns = clock_offset_ns
        self._is_gone = is_gone

    def accept(self, received: Sequence[Received]) -> list[Held]:
        """Take what was read and is not in hand yet; returns the entries among it."""
        new = [item for item in received if (item.revision, item.id) not in self._hands]
        return [held for item in new if (held := self._take(item)) is not None]

    def sort_parked(self) -> list[Held]:
        """What is parked is to be run once there is a Session, and done with once its scheduler is gone.

        Returns what is to be run.
        """
        back = []
        for held in self._hands.in_state(HeldState.PARKED):
            offset = self._clock_offset_ns(held.entry.scheduler)
            if offset is not None:
                held.jobs = _jobs(held.entry, offset)
                held.state = HeldState.WAITING
                self._hands.add(held)
                back.append(held)
            elif self._is_gone(held.entry.scheduler, held.entry.reply_address):
                self._hands.done(held)
        return back

    def forget_taken_back(self, revision: str, pending: Collection[bytes]) -> None:
        """What is parked and no longer pending with this worker was taken back by its scheduler."""
        for held in self._hands.in_state(HeldState.PARKED):
            if held.revision == revision and held.id not in pending:
                self._hands.forget(held)

    def _take(self, item: Received) -> Held | None:
        try:
            entry = self._decoder.decode(item.data) if item.data is not None else None
        except Unimplemented as error:
            # Of a newer scheduler: it stays pending, and that scheduler takes it back for a newer worker.
            _log.warning("an entry is left to a newer worker", id=item.id.decode(), why=error.message)
            return None
        except DataLoss as error:
            _log.error("an entry cannot be read and is dropped", id=item.id.decode(), why=error.message)
            entry = None
        if entry is None:
            self._hands.add_empty(item.revision, item.id)
            return None
        offset = self._clock_offset_ns(entry.scheduler)
        state = HeldState.PARKED if offset is None else HeldState.WAITING
        held = Held(item.revision, item.id, entry, _jobs(entry, offset or 0), state)
        self._hands.add(held)
        return held


def _jobs(entry: Entry, offset_ns: int) -> list[Job]:
    now = time.monotonic_ns()
    return [Job(block, block.admitted_ns - offset_ns, block.deadline_ns - offset_ns, now) for block in entry.blocks]
