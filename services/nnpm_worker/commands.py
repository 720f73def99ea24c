"""What schedulers say on their Sessions, put to whom it concerns."""

import asyncio
from collections.abc import Sequence

from nnpm.errors import NnpmError
from nnpm_worker.hands import Hands
from nnpm_worker.models import Models, ModelStatus
from nnpm_worker.reading import Reading
from nnpm_worker.replica import Revision
from nnpm_worker.schedulers import Schedulers


class WorkerCommands:
    """See `nnpm_worker.session.Commands`."""

    def __init__(
        self, models: Models, hands: Hands, reading: Reading, schedulers: Schedulers, changed: asyncio.Event
    ) -> None:
        self._models = models
        self._hands = hands
        self._reading = reading
        self._schedulers = schedulers
        self._changed = changed

    def statuses(self) -> Sequence[ModelStatus]:
        return self._models.statuses

    def load(self, revision: Revision, token: int) -> None:
        self._models.load(revision, token)

    def refuse(self, revision: str, token: int, error: NnpmError) -> None:
        self._models.refuse(revision, token, error)

    def unload(self, revision: str, token: int) -> None:
        self._models.unload(revision, token)

    def cancel(self, scheduler: str, numbers: Sequence[int]) -> None:
        self._hands.cancel(scheduler, numbers)

    def drain(self) -> None:
        self._reading.drain()

    def session_opened(self, address: str, scheduler: str) -> None:
        self._schedulers.session_opened(address, scheduler)
        self._changed.set()

    def session_closed(self, address: str) -> None:
        self._schedulers.session_closed(address)
        self._changed.set()
