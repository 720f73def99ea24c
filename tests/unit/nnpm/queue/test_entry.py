"""An entry comes out of Redis as it went in."""

import pytest

from nnpm.api.worker.v1 import envelope_pb2
from nnpm.errors import DataLoss, Unimplemented
from nnpm.queue.entry import FORMAT_VERSION, MOST_LAYOUTS, Block, Decoder, Encoder, Entry, InputSpec, Layout

LAYOUT = Layout("acme/tiny", (InputSpec("x", "FP32", (1, 3)), InputSpec("é", "INT8", ())), ("z",), 13)


def sent(*blocks: Block, suspect: bool = False) -> Entry:
    return Entry("0123abcd", "unix:/run/mesh.sock", blocks, suspect)


def test_a_whole_entry_survives_the_trip() -> None:
    entry = sent(
        Block(1, 2**64 - 1, 2, 5_000, 4_000, LAYOUT, (bytes(24), b"ab")),
        Block(6, 1, 4, 5_000, 4_000, LAYOUT, (bytes(48), b"abcd"), ended=(1, 3)),
        Block(3, 0, 1, 2**62, -1, None, (), b"body", 0, "00-aa-bb-01"),
        Block(4, 7, 1, 1, 1, LAYOUT, (), b"", 70_000_000),
        Block(5, 7, 1, 1, 1, None, (), b"", 70_000_000),
    )
    assert Decoder().decode(Encoder().encode(entry)) == entry
    assert entry.requests == 9


def test_a_suspect_is_marked() -> None:
    assert Decoder().decode(Encoder().encode(sent(suspect=True))).suspect


def test_equal_layouts_become_one_object_whoever_wrote_them() -> None:
    decoder = Decoder()
    copy = Layout(LAYOUT.model_name, tuple(LAYOUT.inputs), LAYOUT.outputs, LAYOUT.size)
    other = Layout("other", LAYOUT.inputs, LAYOUT.outputs, LAYOUT.size)
    found = [
        decoder.decode(Encoder().encode(sent(Block(1, 1, 1, 1, 1, layout, (b"", b""))))).blocks[0].layout
        for layout in (LAYOUT, copy, other)
    ]
    assert found[0] is found[1]
    assert found == [LAYOUT, LAYOUT, other]


def test_layouts_are_remembered_in_bounded_number_and_come_out_right_all_the_same() -> None:
    decoder, encoder = Decoder(), Encoder()
    for number in range(3_000):
        layout = Layout(f"model-{number}", LAYOUT.inputs, (), 13)
        (block,) = decoder.decode(encoder.encode(sent(Block(1, 1, 1, 1, 1, layout, (b"", b""))))).blocks
        assert block.layout == layout
    assert len(decoder._layouts) <= MOST_LAYOUTS
    assert len(encoder._layouts) <= MOST_LAYOUTS


@pytest.mark.parametrize("version", [0, 1, FORMAT_VERSION + 1])
def test_an_entry_of_another_format_is_left_to_others(version: int) -> None:
    with pytest.raises(Unimplemented) as refused:
        Decoder().decode(envelope_pb2.Envelope(format_version=version).SerializeToString())
    assert refused.value.reason == "ENTRY_FORMAT_UNKNOWN"


def test_bytes_that_are_no_entry_are_corrupt() -> None:
    with pytest.raises(DataLoss) as refused:
        Decoder().decode(b"\xff\xff")
    assert refused.value.reason == "ENTRY_CORRUPT"
