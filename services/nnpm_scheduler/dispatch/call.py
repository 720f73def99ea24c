"""What crosses the seam between a transport and the dispatch core: calls in, answers out, both in lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nnpm.errors import NnpmError


@dataclass(slots=True, eq=False)
class Call:
    """One ModelInfer that a transport holds open until it is answered. Transports subclass it with what they need.

    Args:
        body: the serialised ModelInferRequest; dropped when the call is answered.
        deadline: `time.monotonic()` seconds; None when the client set none.
        source: the connection it came over; memory is bounded for each.
        traceparent: W3C context of the call's span; empty when it is not sampled.
    """

    body: bytes
    deadline: float | None
    source: str
    traceparent: str = ""
    number: int = 0
    """Its number in the in-flight table, once admitted."""
    id: str = ""
    """The client's request id, once the header was read."""


Outcome = bytes | NnpmError
"""The serialised ModelInferResponse, or what the call fails with."""

Answer = tuple[Call, Outcome]


class Transport(Protocol):
    """Where answers go."""

    def answer(self, answers: Sequence[Answer]) -> None:
        """Completes each call; called once an event-loop turn at most for each cause, never for a call twice."""
