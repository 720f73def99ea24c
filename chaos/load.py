"""The load: calls of every kind at every scheduler, as a seed draws them, at a steady rate whatever becomes of them."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from chaos.calls import MODEL, NEVER, QUICK, Request, make
from chaos.clients import ForeignClient, OwnClient
from chaos.history import Call, History

PATIENCE = 30.0
"""Seconds that most calls may take: longer than all that goes wrong at once."""
LATEST = 15.0
"""Seconds after the last deadline at which a call that has not ended is lost."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the load that are special, in calls out of 1,000; what is left are patient unary calls."""

    streams: int = 15
    foreign: int = 100
    cancelled: int = 50
    hasty: int = 50
    quick: int = 150
    large: int = 10
    never: int = 5
    lethal: int = 0


STREAM_LENGTH = 12
LARGE_ROWS = 12_000
"""A request of 384 KB: its body is claimed."""
_MOST_AT_HAND = 10_000
_PAUSE = 0.005
_MIDDLE = 0.2
"""Seconds after which a request that was just sent is cancelled."""
SLOWEST = 60
"""Milliseconds that the model takes for a request at most; most take a tenth."""


class Load:
    """Sends, and notes what comes back.

    Args:
        addresses: of each scheduler, by name.
        lethal: at what seconds of the load a call is sent that kills who runs it.
        mix: what the load consists of.
        first: the first call's number.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        history: History,
        dice: Random,
        *,
        rate: float,
        mix: Mix | None = None,
        lethal: tuple[float, ...] = (),
        first: int = 1,
    ) -> None:
        self._history = history
        self._dice = dice
        self._rate = rate
        self._mix = mix or Mix()
        self._lethal = list(lethal)
        self._own = {name: OwnClient(address, history) for name, address in addresses.items()}
        self._foreign = {name: ForeignClient(address, history) for name, address in addresses.items()}
        self._names = list(addresses)
        self._number = first - 1
        self.late = 0.0
        """Seconds that this program was late at most: beyond one, it tells of its own machine."""

    async def run(self, seconds: float, begin: float, *, rate: float = 0.0) -> None:
        """So many seconds of load, from a time on; returns when every call has ended or is lost."""
        rate = rate or self._rate
        calls: set[asyncio.Task[None]] = set()
        sent = 0
        while (elapsed := time.monotonic() - begin) < seconds:
            while sent < elapsed * rate:
                sent += 1
                calls.add(asyncio.create_task(self._one(elapsed)))
            if len(calls) > _MOST_AT_HAND:
                calls = _unfinished(calls)
            await asyncio.sleep(_PAUSE)
            self.late = max(self.late, time.monotonic() - begin - elapsed - _PAUSE)
        await self._finish(calls)

    async def saturate(self, callers: int, seconds: float) -> None:
        """So many callers, each of which calls again as soon as it is answered, for so many seconds."""
        until = time.monotonic() + seconds

        async def caller() -> None:
            while time.monotonic() < until:
                await self._one(0.0)

        await self._finish({asyncio.create_task(caller()) for _ in range(callers)})

    async def burst(self, requests: int, *, milliseconds: int, lethal_at: int = -1) -> None:
        """So many unary calls at once, by turns at every scheduler; one of them may be lethal."""
        calls: set[asyncio.Task[None]] = set()
        for number in range(requests):
            name = self._names[number % len(self._names)]
            lethal = number == lethal_at
            request = self._request(milliseconds=milliseconds, lethal=lethal)
            self._sent(request, name, "unary", 2 * PATIENCE, lethal=lethal)
            calls.add(asyncio.create_task(self._own[name].unary(request, 2 * PATIENCE)))
        await self._finish(calls, patience=2 * PATIENCE)

    async def partly_cancelled(
        self, requests: int, cancelled: int, *, milliseconds: int
    ) -> tuple[Sequence[int], float]:
        """So many requests at once on one stream, so many of them cancelled during the first runs: which, and when."""
        name = self._names[0]
        sent = [self._request(milliseconds=milliseconds) for _ in range(requests)]
        doomed = self._dice.sample([request.number for request in sent], cancelled)
        for request in sent:
            kind = "cancelled" if request.number in doomed else "stream"
            self._sent(request, name, kind, 2 * PATIENCE)
        at = await self._own[name].partly_cancelled(sent, doomed, 2 * PATIENCE, after=_MIDDLE)
        return doomed, at

    async def close(self) -> None:
        """Break all connections."""
        for name in self._names:
            await self._own[name].close()
            await self._foreign[name].close()

    async def _finish(self, calls: set[asyncio.Task[None]], *, patience: float = PATIENCE) -> None:
        if not calls:
            return
        ended, lost = await asyncio.wait(calls, timeout=patience + LATEST)
        for call in lost:
            call.cancel()
        await asyncio.gather(*lost, return_exceptions=True)
        _unfinished(ended)

    async def _one(self, elapsed: float) -> None:
        dice, mix = self._dice, self._mix
        name = dice.choice(self._names)
        if self._lethal and elapsed >= self._lethal[0]:
            del self._lethal[0]
            request = self._request(lethal=True)
            self._sent(request, name, "unary", PATIENCE, lethal=True)
            await self._own[name].unary(request, PATIENCE, model=dice.choice((MODEL, QUICK)))
            return
        drawn = dice.randrange(1000)
        for kind in ("streams", "foreign", "cancelled", "hasty", "quick", "large", "never"):
            drawn -= getattr(mix, kind)
            if drawn < 0:
                await getattr(self, f"_{kind}_call")(name)
                return
        await self._plain_call(name)

    async def _plain_call(self, name: str) -> None:
        request = self._request(milliseconds=self._pace())
        self._sent(request, name, "unary", PATIENCE)
        await self._own[name].unary(request, PATIENCE)

    async def _streams_call(self, name: str) -> None:
        requests = [self._request(milliseconds=self._pace()) for _ in range(STREAM_LENGTH)]
        for request in requests:
            self._sent(request, name, "stream", PATIENCE)
        await self._own[name].stream(requests, PATIENCE)

    async def _foreign_call(self, name: str) -> None:
        request = self._request(milliseconds=self._pace())
        self._sent(request, name, "foreign", PATIENCE)
        await self._foreign[name].call(request, PATIENCE)

    async def _cancelled_call(self, name: str) -> None:
        request = self._request(milliseconds=self._pace())
        after = self._dice.uniform(0.0, 0.1)
        self._sent(request, name, "cancelled", PATIENCE)
        await self._own[name].cancelled(request, PATIENCE, after)

    async def _hasty_call(self, name: str) -> None:
        request, timeout = self._request(milliseconds=self._pace()), self._dice.uniform(0.01, 1.0)
        self._sent(request, name, "unary", timeout)
        await self._own[name].unary(request, timeout)

    async def _quick_call(self, name: str) -> None:
        request = self._request()
        self._sent(request, name, "unary", PATIENCE)
        await self._own[name].unary(request, PATIENCE, model=QUICK)

    async def _large_call(self, name: str) -> None:
        request = self._request(rows=LARGE_ROWS)
        self._sent(request, name, "unary", PATIENCE)
        await self._own[name].unary(request, PATIENCE)

    async def _never_call(self, name: str) -> None:
        request, timeout = self._request(), 2.0
        self._sent(request, name, "unary", timeout, answerable=False)
        await self._own[name].unary(request, timeout, model=NEVER)

    def _pace(self) -> int:
        return self._dice.randrange(SLOWEST if self._dice.random() < 0.1 else SLOWEST // 10)

    def _request(self, *, rows: int = 1, milliseconds: int = 0, lethal: bool = False) -> Request:
        self._number += 1
        return make(self._dice, self._number, rows=rows, milliseconds=milliseconds, lethal=lethal)

    def _sent(
        self, request: Request, name: str, kind: str, timeout: float, *, lethal: bool = False, answerable: bool = True
    ) -> None:
        expected = request.expected if answerable and not lethal else ""
        self._history.sent(Call(request.number, name, kind, time.monotonic(), timeout, expected, lethal))


def _unfinished(calls: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Those that go on; a fault of this program must not pass for a call that ended."""
    for call in calls:
        if call.done():
            call.result()
    return {call for call in calls if not call.done()}
