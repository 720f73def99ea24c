"""Memory that joined inputs are written into, run after run: aligned, and mapped already.

Fresh memory of some hundred kilobytes is mapped and cleared by the kernel page by page, and given back after the run:
for a fast model that takes as long as the run itself, and disturbs the next one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT = 64
"""Bytes; what ONNX Runtime's own allocator gives."""

_MOST_KEPT = 64 * 1024 * 1024
"""Bytes of one input that are kept between runs."""


class Buffers:
    """One room an input. What was taken from it is valid until it is taken again; for one thread at a time."""

    def __init__(self) -> None:
        self._rooms: dict[str, NDArray[np.uint8]] = {}

    def take(self, name: str, dtype: DTypeLike, shape: Sequence[int]) -> NDArray[Any]:
        """An array in the input's room, with whatever was there."""
        kind = np.dtype(dtype)
        size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
        room = self._rooms.get(name)
        if room is None or room.nbytes < size:
            room = aligned_room(size)
            if size <= _MOST_KEPT:
                self._rooms[name] = room
        found: NDArray[Any] = room[:size].view(kind).reshape(shape)
        return found

    def leave_to(self, outputs: Iterable[NDArray[Any]]) -> None:
        """Give up every room that an output may lie in, as of a runtime that answers with its input."""
        shared = [
            name for name, room in self._rooms.items() if any(np.may_share_memory(room, output) for output in outputs)
        ]
        for name in shared:
            del self._rooms[name]


def is_aligned(array: NDArray[Any]) -> bool:
    """Whether it begins where a process's own arrays begin."""
    address: int = array.__array_interface__["data"][0]
    return address % ALIGNMENT == 0


def aligned_room(size: int) -> NDArray[np.uint8]:
    """So many bytes, aligned."""
    room = np.empty(size + ALIGNMENT, np.uint8)
    address: int = room.__array_interface__["data"][0]
    start = -address % ALIGNMENT
    return room[start : start + size]
