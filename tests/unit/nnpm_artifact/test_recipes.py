"""Recipes as bytes."""

import pytest

from nnpm.errors import DataLoss
from nnpm_artifact.recipes import Chunk, Part, decode_chunks, encode_chunks


def test_a_part_reads_back() -> None:
    part = Part(b"f" * 32, 1 << 40, 1 << 39, (Chunk(b"a" * 32, 1), Chunk(b"b" * 32, 1 << 20)))
    assert Part.decode(part.encode()) == part
    assert part.end == (1 << 39) + 1 + (1 << 20)


def test_an_empty_file_has_a_part_without_chunks() -> None:
    part = Part(b"f" * 32, 0, 0, ())
    assert Part.decode(part.encode()) == part


def test_a_chunk_takes_36_bytes() -> None:
    chunks = [Chunk(bytes(32), size) for size in range(1, 1025)]
    encoded = encode_chunks(chunks)
    assert len(encoded) == 36 * 1024
    assert decode_chunks(encoded) == chunks


@pytest.mark.parametrize("length", [1, 35, 47, 49])
def test_bytes_that_are_no_part_are_refused(length: int) -> None:
    with pytest.raises(DataLoss) as caught:
        Part.decode(bytes(length))
    assert caught.value.reason == "RECIPE_CORRUPT"
