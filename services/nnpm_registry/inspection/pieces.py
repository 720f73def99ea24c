"""A file that another process holds: read at any place, a piece at a time, over a socket.

The protocol, one exchange after the other: this side writes one line of JSON, `{"read": [offset, length]}`; the other
answers with exactly that many bytes. Whoever is not interested in weights never asks for them.
"""

import json
from typing import BinaryIO

from nnpm.errors import InvalidArgument

_FIRST = 1 << 16
_LARGEST = 1 << 20


class PiecedFile:
    """Reads forward with a growing read-ahead; a jump past what is at hand starts small again."""

    def __init__(self, asks: BinaryIO, answers: BinaryIO, size: int) -> None:
        self._asks = asks
        self._answers = answers
        self._size = size
        self._buffer = b""
        self._start = 0
        self._ahead = _FIRST
        self.position = 0

    def byte(self) -> int:
        """The next byte."""
        index = self.position - self._start
        if not 0 <= index < len(self._buffer):
            self._fill(1)
            index = 0
        self.position += 1
        return self._buffer[index]

    def read(self, size: int) -> bytes:
        """The next `size` bytes. Raises InvalidArgument INVALID_MODEL_FILE when the file ends before."""
        index = self.position - self._start
        if index < 0 or index + size > len(self._buffer):
            self._fill(size)
            index = 0
        self.position += size
        return self._buffer[index : index + size]

    def _fill(self, size: int) -> None:
        if self.position + size > self._size:
            raise InvalidArgument("INVALID_MODEL_FILE", "the model's file ends in the middle")
        sequential = self.position <= self._start + len(self._buffer)
        self._ahead = min(self._ahead * 2, _LARGEST) if sequential else _FIRST
        wanted = min(max(size, self._ahead), self._size - self.position)
        self._asks.write(json.dumps({"read": [self.position, wanted]}).encode() + b"\n")
        self._asks.flush()
        self._buffer = self._answers.read(wanted)
        self._start = self.position
        if len(self._buffer) != wanted:
            raise EOFError("the registry went away")
