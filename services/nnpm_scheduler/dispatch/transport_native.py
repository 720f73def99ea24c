"""The native transport (libs/nnpm_wire): connections, framing, grouping and the routing of replies are Rust's.

Once a turn Python is handed what has happened: blocks that arrived, calls that were given up, replies that have reached
their calls already. What is decided about them is decided in the dispatch core, as for every transport.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nnpm.errors import InvalidArgument, NnpmError, Unimplemented
from nnpm_scheduler.dispatch.call import METADATA
from nnpm_scheduler.dispatch.held import Bounds
from nnpm_scheduler.dispatch.refusals import (
    Refusal,
    cancels_nothing,
    claim_not_found,
    message_too_large,
    refusal,
    scheduler_changed,
    stopping,
    too_much_in_flight,
    unknown_stream_order,
)
from nnpm_scheduler.dispatch.statistics import BatchFigures
from nnpm_scheduler.dispatch.turn import Dispatch

if TYPE_CHECKING:
    from nnpm_wire import Front


def open_front(scheduler: str, bounds: Bounds, max_message_bytes: int, keys: tuple[str, ...] = METADATA) -> "Front":
    """The scheduler's listeners, which hand over these keys of metadata. Raises ImportError without nnpm_wire."""
    from nnpm_wire import Front  # noqa: PLC0415 -- optional: grpc.aio does the same, slower

    return Front(
        scheduler=scheduler,
        max_message_bytes=max_message_bytes,
        total_bytes=bounds.total_bytes,
        connection_bytes=bounds.source_bytes,
        calls=bounds.calls,
        metadata=keys,
        refusals=_refusals(scheduler, bounds, max_message_bytes),
    )


class NativeTransport:
    """Turns what the front collects into calls of the dispatch core, on the event loop."""

    def __init__(self, front: "Front", dispatch: Dispatch) -> None:
        self._front = front
        self._dispatch = dispatch
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(front.fileno(), self._turn)

    def close(self) -> None:
        """Ends every connection."""
        self._loop.remove_reader(self._front.fileno())
        self._front.close()

    def _turn(self) -> None:
        turn, dispatch = self._front.turn(), self._dispatch
        for delivered in turn.delivered:
            landed = [
                (number, offset, count, answered, status or b"")
                for number, offset, count, answered, _, status in delivered.replies
            ]
            dispatch.delivered(delivered.revision, landed, BatchFigures(*delivered.figures), delivered.sent)
        if turn.cancelled:
            dispatch.cancel(turn.cancelled)
        if turn.calls:
            dispatch.take(turn.calls)


def _refusals(scheduler: str, bounds: Bounds, max_message_bytes: int) -> Mapping[str, Refusal]:
    errors: dict[str, NnpmError] = {
        "too_many_calls": too_much_in_flight("calls", bounds.calls),
        "total_bytes": too_much_in_flight("bytes of requests", bounds.total_bytes),
        "connection_bytes": too_much_in_flight("bytes of requests from this connection", bounds.source_bytes),
        "message_too_large": message_too_large(max_message_bytes),
        "shutting_down": stopping(),
        "unknown_order": unknown_stream_order(),
        "names_no_id": cancels_nothing(),
        "wrong_scheduler": scheduler_changed(scheduler),
        "claim_not_found": claim_not_found(),
        "malformed": InvalidArgument(
            "MALFORMED_REQUEST",
            "the request's bytes are not the message that this method takes",
            hint="generate the client's stubs from this server's protos",
        ),
        "compressed": Unimplemented(
            "COMPRESSION_NOT_SERVED", "compressed messages are not taken", hint="send messages as they are"
        ),
    }
    return {name: refusal(error) for name, error in errors.items()}
