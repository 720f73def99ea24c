"""This process among those that share a store and a database: it says that it lives, and buries the dead."""

import asyncio
import socket

from nnpm.errors import NnpmError
from nnpm.telemetry.logs import get_logger
from nnpm_artifact.pack_ledger import SEAT_LEASE_MS, PackLedger


def seat_of(listen: str) -> str:
    """A name that no other living process has, and that this one has again after a restart."""
    return f"{socket.gethostname()}/{listen}"[:320]


class Seat:
    """Held as long as `run` runs."""

    def __init__(self, ledger: PackLedger) -> None:
        self._ledger = ledger
        self._log = get_logger("seat")

    async def run(self) -> None:
        """Until cancelled, at any point. What fails is tried again."""
        while True:
            await asyncio.sleep(SEAT_LEASE_MS / 3000)
            try:
                await self._ledger.hold_seat()
            except NnpmError as error:
                self._log.warning("the seat was not renewed", reason=error.reason, error=error.message)
