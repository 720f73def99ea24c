"""Puts in-flight blocks into the form in which they travel through Redis."""

from nnpm.queue.entry import Block, Encoder, Entry
from nnpm_scheduler.dispatch.inflight import Flight, Posted


class Envelope:
    """This scheduler process as the sender of entries.

    Args:
        scheduler: its incarnation.
        reply_address: where workers deliver.
        claim_above: a request of more bytes travels alone, and its bytes stay here, to be redeemed.
    """

    def __init__(self, scheduler: str, reply_address: str, claim_above: int) -> None:
        self._scheduler = scheduler
        self._reply_address = reply_address
        self._claim_above = claim_above
        self._encoder = Encoder()

    def encode(self, entry: Posted) -> bytes:
        """The stream entry's value. Blocks that were given up meanwhile are left out."""
        blocks = tuple([self._block(flight) for flight in entry.flights if flight.entry is entry])
        return self._encoder.encode(Entry(self._scheduler, self._reply_address, blocks, suspect=entry.suspect))

    def _block(self, flight: Flight) -> Block:
        calls, layout = flight.calls, flight.layout
        raw: list[bytes] = []
        body, claimed = b"", 0
        if flight.size > self._claim_above and flight.count == 1:
            calls.claimable(layout is None)
            claimed = flight.size if layout is None else layout.size
        elif layout is not None:
            raw = calls.raw()
        else:
            body = calls.body()
        return Block(
            flight.number,
            flight.nonce,
            flight.count,
            int(flight.deadline * 1e9),
            flight.admitted_ns,
            layout,
            raw,
            body,
            claimed,
            flight.span.traceparent if flight.span is not None else "",
            _ended(flight),
        )


def _ended(flight: Flight) -> tuple[int, ...]:
    """Offsets of the requests that were cancelled, or answered, before the block was written."""
    if flight.live == flight.count:
        return ()
    return tuple(sorted({*range(flight.count)}.difference(flight.calls.live())))
