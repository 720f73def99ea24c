"""Memory that joined inputs share, run after run."""

import numpy as np
import pytest

from nnpm_worker.buffers import Buffers, aligned_room, is_aligned


@pytest.mark.parametrize("size", [0, 1, 63, 64, 100_001])
def test_a_room_is_aligned(size: int) -> None:
    room = aligned_room(size)
    assert room.nbytes == size
    assert size == 0 or is_aligned(room)


def test_an_array_within_another_is_not_taken_for_aligned() -> None:
    assert not is_aligned(aligned_room(100)[4:])


def test_the_same_memory_is_given_again_for_what_fits_in_it() -> None:
    buffers = Buffers()
    first = buffers.take("x", np.float32, (8, 4))
    assert (first.shape, first.dtype) == ((8, 4), np.float32)
    assert is_aligned(first)
    again = buffers.take("x", np.int64, (3,))
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, buffers.take("y", np.float32, (8, 4)))
    assert not np.shares_memory(first, buffers.take("x", np.float32, (9, 4)))


def test_memory_that_an_output_lies_in_is_not_given_again() -> None:
    buffers = Buffers()
    first = buffers.take("x", np.float32, (8, 4))
    buffers.leave_to([np.zeros(3), first[2:4]])
    assert not np.shares_memory(first, buffers.take("x", np.float32, (8, 4)))


def test_what_is_very_large_is_not_kept() -> None:
    buffers = Buffers()
    first = buffers.take("x", np.uint8, (65 * 1024 * 1024,))
    assert not np.shares_memory(first, buffers.take("x", np.uint8, (1,)))
