from collections.abc import Mapping, Sequence
from typing import Literal, final

VERSION: str

Buffer = bytes | bytearray | memoryview

Refusal = tuple[int, str, bytes]
"""A gRPC code, a message, and a serialised google.rpc.Status for grpc-status-details-bin."""

Tls = tuple[bytes, bytes, bytes | None]
"""Certificate chain, key, and the authorities that clients must be certified by, PEM."""

ClientTls = tuple[bytes, bytes | None, bytes | None]
"""Authorities, own certificate chain and key, PEM."""

Landed = tuple[int, int, int, int, int, bytes | None]
"""A reply: number and offset and count as in it, how many calls it answered, queue_ns, its status if it is one."""

@final
class Front:
    """A scheduler's listeners over one table of calls.

    It owns one thread, never blocks the caller, and has the GIL only while lists are handed over.

    Args:
        scheduler: the process's incarnation; replies to another one are refused.
        max_message_bytes: of one message from a client.
        total_bytes: of bodies that may be held in all, from their first bytes on.
        connection_bytes: of bodies that may be held from one connection.
        calls: that may be held.
        metadata: keys whose values are handed over; a call with a traceparent is a block of its own.
        refusals: what calls fail with that Python never sees: too_many_calls, total_bytes, connection_bytes,
            message_too_large, shutting_down, wrong_scheduler, claim_not_found, malformed, compressed, unknown_order and
            names_no_id (see protos/README.md: Streams).
    """

    def __init__(
        self,
        *,
        scheduler: str,
        max_message_bytes: int,
        total_bytes: int,
        connection_bytes: int,
        calls: int,
        metadata: Sequence[str],
        refusals: Mapping[str, Refusal],
    ) -> None: ...
    def listen(self, address: str, *, upstream: str, role: Literal["data", "mesh"], tls: Tls | None) -> str:
        """Listens on `host:port` (0: any) or `unix:/path` and returns where. Raises OSError.

        What is not served here is passed on to the gRPC server at the unix socket `upstream`.
        """

    def fileno(self) -> int:
        """Readable when `turn` has something."""

    def turn(self) -> Turn:
        """Everything that has happened since the last call."""

    def drain(self) -> None:
        """Takes no new calls from clients; those in flight go on, and so do workers."""

    def close(self) -> None:
        """Ends everything, and waits for the thread."""

    @property
    def bytes_held(self) -> int:
        """Of bodies."""

    @property
    def calls_held(self) -> int:
        """Unanswered, half-sent ones included."""

    @property
    def connections(self) -> int:
        """Open now."""

@final
class Turn:
    """What has happened."""

    @property
    def calls(self) -> list[Calls]:
        """New calls, in blocks."""

    @property
    def cancelled(self) -> list[tuple[int, int]]:
        """Number of the block and offset of calls in flight that nobody waits for any more."""

    @property
    def delivered(self) -> list[Delivered]:
        """Workers' replies: those that succeeded have reached their calls."""

@final
class Delivered:
    """One Deliver."""

    @property
    def worker(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def figures(self) -> tuple[int, int, int, int, int]:
        """The fields of BatchFigures, in their order."""

    @property
    def replies(self) -> list[Landed]:
        """To blocks in flight; one that is a status has answered nothing."""

    @property
    def sent(self) -> int:
        """Bytes of the answers that went out to clients."""

@final
class Calls:
    """A block: see `nnpm_scheduler.dispatch.call.Calls`."""

    @property
    def header(self) -> bytes: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def metadata(self) -> tuple[str, ...]: ...
    @property
    def method(self) -> str: ...
    @property
    def size(self) -> int: ...
    def __len__(self) -> int: ...
    def body(self) -> bytes: ...
    def raw(self) -> list[bytes]: ...
    def claimable(self, whole: bool, /) -> None: ...
    def ids(self) -> list[str]: ...
    def split(self, count: int, /) -> Calls: ...
    def fly(self, number: int, nonce: int, /) -> None: ...
    def live(self) -> list[int]: ...
    def single(self, offset: int, /) -> Calls: ...
    def fail(self, code: int, message: str, details: bytes, streamed: str, /) -> int: ...
    def answer(self, offset: int, count: int, head: bytes, raw: Sequence[Buffer], /) -> int: ...

@final
class Client:
    """Calls to many addresses, each with one message up, over connections that are kept. It owns one thread."""

    def __init__(self, *, max_message_bytes: int) -> None: ...
    def call(
        self, address: str, path: str, parts: Sequence[Buffer], timeout: float, tls: ClientTls | None = None
    ) -> int:
        """Begins a call whose message is the parts joined; returns its token. Raises OSError for bad PEM."""

    def fileno(self) -> int:
        """Readable when `turn` has something."""

    def turn(self) -> list[tuple[int, int, str, bytes, list[bytes]]]:
        """Calls that have ended: token, gRPC code, message, grpc-status-details-bin, messages."""

    def close(self) -> None:
        """Gives up what is under way, and waits for the thread."""
