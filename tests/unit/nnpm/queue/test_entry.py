"""An entry comes out of Redis as it went in."""

import pytest

from nnpm.api.worker.v1 import envelope_pb2
from nnpm.errors import DataLoss, Unimplemented
from nnpm.queue import entry

LAYOUT = entry.Layout(
    "acme/tiny", "id-é", (entry.InputSpan("x", "FP32", (1, 3), 40, 12), entry.InputSpan("y", "INT8", (), 60, 1)), ("z",)
)


def test_a_whole_entry_survives_the_trip() -> None:
    sent = entry.Entry(
        "0123abcd",
        "unix:/run/mesh.sock",
        (
            entry.Request(1, 2**64 - 1, 5_000, 4_000, b"body", 0, LAYOUT, "00-aa-bb-01"),
            entry.Request(2, 0, 2**62, -1, None, 70_000_000),
            entry.Request(3, 7, 1, 1, b""),
        ),
    )
    assert entry.decode(entry.encode(sent)) == sent


def test_a_suspect_is_marked() -> None:
    assert entry.decode(entry.encode(entry.Entry("s", "a", (), suspect=True))).suspect


def test_an_entry_of_a_newer_format_is_left_to_others() -> None:
    with pytest.raises(Unimplemented) as refused:
        entry.decode(envelope_pb2.Envelope(format_version=2).SerializeToString())
    assert refused.value.reason == "ENTRY_FORMAT_UNKNOWN"


def test_bytes_that_are_no_entry_are_corrupt() -> None:
    with pytest.raises(DataLoss) as refused:
        entry.decode(b"\xff\xff")
    assert refused.value.reason == "ENTRY_CORRUPT"
