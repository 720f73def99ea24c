"""What the grpc.aio transport holds of requests, bounded: bytes from each connection and in all, and calls.

(The native transport counts in Rust, from a body's first bytes on.)
"""

from dataclasses import dataclass

from nnpm_scheduler.dispatch.refusals import Refusal, refusal, too_much_in_flight


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be in flight: bytes of bodies in all and from one connection, and calls."""

    total_bytes: int
    source_bytes: int
    calls: int


class Held:
    """Counts against the bounds."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._by_source: dict[str, int] = {}
        self.calls = 0
        """Unanswered."""
        self.bytes = 0
        """Of all bodies held."""

    def take(self, source: str, size: int) -> Refusal | None:
        """Counts a call in, in any case, until `release`; returns what it fails with at a bound: TOO_MUCH_IN_FLIGHT."""
        from_source = self._by_source.get(source, 0) + size
        self._by_source[source] = from_source
        self.calls += 1
        self.bytes += size
        bounds = self._bounds
        if self.calls > bounds.calls:
            return refusal(too_much_in_flight("calls", bounds.calls))
        if self.bytes > bounds.total_bytes:
            return refusal(too_much_in_flight("bytes of requests", bounds.total_bytes))
        if from_source > bounds.source_bytes:
            return refusal(too_much_in_flight("bytes of requests from this connection", bounds.source_bytes))
        return None

    def release(self, source: str, size: int) -> None:
        """The call has ended."""
        self.calls -= 1
        self.bytes -= size
        left = self._by_source.get(source, 0) - size
        if left:
            self._by_source[source] = left
        else:
            self._by_source.pop(source, None)
