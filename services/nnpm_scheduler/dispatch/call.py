"""What crosses the seam between a transport and the dispatch core: blocks of calls in, answers out, once a turn.

A block is the calls of one event-loop turn that say the same but for their ids and their tensors' bytes. The native
transport (libs/nnpm_wire) makes blocks in Rust; the grpc.aio transport makes the same in Python.
"""

from collections.abc import Sequence
from typing import Protocol

Raw = Sequence[bytes | memoryview]


class Calls(Protocol):
    """A block. The transport holds each of its calls open until it is answered, once."""

    @property
    def header(self) -> bytes:
        """The ModelInferRequest without id and without the bytes of raw contents; empty: only `body` tells."""

    @property
    def timeout(self) -> float | None:
        """Seconds that are left of the clients' deadlines; None when they set none."""

    @property
    def metadata(self) -> tuple[str, ...]:
        """Values of the keys that `metadata_keys` gave, empty where one is absent."""

    @property
    def method(self) -> str:
        """`ModelInfer` or `ModelStreamInfer`."""

    @property
    def size(self) -> int:
        """Bytes of all bodies."""

    def __len__(self) -> int: ...

    def body(self) -> bytes:
        """The first call's whole ModelInferRequest."""

    def raw(self) -> list[bytes]:
        """For each raw input the bytes of all calls, one behind the other."""

    def split(self, count: int, /) -> "Calls":
        """Takes the first `count` calls off, as a block of their own; before `fly`."""

    def fly(self, number: int, nonce: int, /) -> None:
        """Numbers the calls `number`, `number + 1`...: from now on replies with that nonce find them."""

    def claimable(self, whole: bool, /) -> None:
        """RedeemPayload will ask for the bytes of the block's one call: the whole body, or its raw contents."""

    def live(self) -> list[int]:
        """Offsets of the calls that are neither answered nor cancelled."""

    def single(self, offset: int, /) -> "Calls":
        """Takes one call out, with its number and nonce. Raises ValueError when nobody waits for it any more."""

    def answer(self, offset: int, count: int, head: bytes, raw: Raw, /) -> int:
        """Answers `count` calls from `offset` on (envelope and `Reply` in worker.proto); returns how many were live."""

    def fail(self, code: int, message: str, details: bytes, streamed: str, /) -> int:
        """Fails every live call with a status; returns how many. `streamed` is what a stream's message says of it."""


METADATA = ("traceparent", "tracestate", "nnpm-priority", "nnpm-tenant")
"""What the dispatch core wants of a call's metadata; the settings may name the last two otherwise."""
TRACEPARENT, TRACESTATE, PRIORITY, TENANT = range(4)


def metadata_keys(priority: str, tenant: str) -> tuple[str, ...]:
    """The keys by which a block's standing is told."""
    return (*METADATA[:PRIORITY], priority, tenant)
