"""Messages between the worker and a class's process: four bytes that say how long, then JSON. Nothing is pickled."""

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

Message = dict[str, Any]

MOST_BYTES = 4 << 20
"""Of a message; the names and shapes of a few thousand tensors."""

_LENGTH = struct.Struct("<I")


class Garbled(Exception):
    """What a process said is not what is said here; its text says what it was."""


def send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    """Raises OSError when the other end is gone, Garbled when it would not be received."""
    content = json.dumps(message).encode()
    if len(content) > MOST_BYTES:
        raise Garbled(f"a message of {len(content)} bytes")
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket, deadline: float | None = None) -> Message:
    """The next message.

    Args:
        deadline: on the monotonic clock, seconds; None = wait for ever.

    Raises:
        TimeoutError: none came in time.
        OSError: the other end is gone.
        Garbled: what came is no message.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size, deadline))
    if length > MOST_BYTES:
        raise Garbled(f"a message of {length} bytes")
    try:
        message = json.loads(_exactly(connection, length, deadline))
    except (ValueError, RecursionError) as error:
        raise Garbled("a message that is no JSON") from error
    if not isinstance(message, dict):
        raise Garbled("a message that is no JSON object")
    return message


def _exactly(connection: socket.socket, count: int, deadline: float | None) -> bytes:
    content = bytearray()
    while len(content) < count:
        if deadline is not None:
            # A timeout of zero would mean: do not wait at all, and fail otherwise than by TimeoutError.
            connection.settimeout(max(deadline - time.monotonic(), 1e-6))
        part = connection.recv(count - len(content))
        if not part:
            raise ConnectionResetError("the other end is closed")
        content += part
    return bytes(content)
