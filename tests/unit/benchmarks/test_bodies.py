"""What the generators send is what the protocol says, with a mark in every message that is to differ."""

import struct
from pathlib import Path

import numpy as np

from benchmarks.bodies import EIGHT_SHAPES, MIXED_ID, body_file
from benchmarks.models import all_models
from nnpm.api.inference import inference_pb2

TINY = all_models()["tiny"]


def _messages(content: bytes) -> list[inference_pb2.ModelInferRequest]:
    found = []
    while content:
        flag, length = struct.unpack(">BI", content[:5])
        assert flag == 0
        found.append(inference_pb2.ModelInferRequest.FromString(content[5 : 5 + length]))
        content = content[5 + length :]
    return found


def test_a_plain_body_is_one_row(tmp_path: Path) -> None:
    (message,) = _messages(body_file(tmp_path, TINY, served_as="elsewhere").read_bytes())
    assert message.model_name == "elsewhere"
    assert list(message.inputs[0].shape) == [1, 16]
    sent = np.frombuffer(message.raw_input_contents[0], np.float32).reshape(1, 16)
    np.testing.assert_array_equal(sent, TINY.rows(1))


def test_a_mixed_body_has_eight_shapes_and_room_for_an_id_in_each(tmp_path: Path) -> None:
    content = body_file(tmp_path, TINY, served_as="tiny", mixed=True).read_bytes()
    messages = _messages(content)
    assert [list(message.inputs[0].shape) for message in messages] == [[rows, 16] for rows in EIGHT_SHAPES]
    assert content.count(MIXED_ID) == len(EIGHT_SHAPES) == 8
    assert f'const (\n\tmark          = "{MIXED_ID.decode()}"' in _generator_source(), (
        "the generator looks for this mark"
    )


def _generator_source() -> str:
    return (Path(__file__).resolve().parents[3] / "benchmarks" / "load" / "main.go").read_text()
