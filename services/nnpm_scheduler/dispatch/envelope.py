"""Puts in-flight calls into the form in which they travel through Redis."""

from dataclasses import dataclass

from nnpm.queue.entry import Entry, Request, encode
from nnpm_scheduler.dispatch.inflight import Flight, Posted


@dataclass(frozen=True, slots=True)
class Envelope:
    """This scheduler process as the sender of entries. Bodies above `claim_above` bytes stay here, to be redeemed."""

    scheduler: str
    reply_address: str
    claim_above: int

    def encode(self, entry: Posted) -> bytes:
        """The stream entry's value. Calls that were given up meanwhile are left out."""
        requests = tuple(self._request(flight) for flight in entry.flights if flight.entry is entry)
        return encode(Entry(self.scheduler, self.reply_address, requests, suspect=entry.suspect))

    def _request(self, flight: Flight) -> Request:
        claimed = flight.size > self.claim_above
        return Request(
            number=flight.number,
            nonce=flight.nonce,
            deadline_ns=int(flight.deadline * 1e9),
            admitted_ns=flight.admitted_ns,
            body=None if claimed else flight.call.body,
            claim_size=flight.size if claimed else 0,
            layout=flight.layout,
            traceparent=flight.call.traceparent,
        )
