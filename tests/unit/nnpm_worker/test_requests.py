from dataclasses import replace

import numpy as np
import pytest

from nnpm.api.inference.inference_pb2 import ModelInferRequest
from nnpm.errors import InvalidArgument
from nnpm.queue.entry import Block, InputSpec, Layout
from nnpm_worker.requests import Job, decode


def job(block: Block) -> Job:
    return Job(block, 0, 0, 0)


def parsed(body: bytes) -> Job:
    return job(Block(1, 2, 1, 0, 0, body=body))


def sliced(raw: bytes, datatype: str = "FP32", shape: tuple[int, ...] = (1,), count: int = 1) -> Job:
    layout = Layout("acme/tiny@^1", (InputSpec("x", datatype, shape),), ("y",), len(raw) // count)
    return job(Block(1, 2, count, 0, 0, layout, (raw,)))


def body(content: bytes = b"\x00\x00\x80\x3f") -> bytes:
    message = ModelInferRequest(model_name="acme/tiny@^1", id="7", outputs=[{"name": "y"}])
    message.inputs.add(name="x", datatype="FP32", shape=[1])
    message.raw_input_contents.append(content)
    return message.SerializeToString()


def test_a_sliced_and_a_parsed_request_are_the_same() -> None:
    (((one,), _), ((other,), _)) = decode(parsed(body())), decode(sliced(b"\x00\x00\x80\x3f"))
    assert (one.outputs, one.model_name, one.count) == (other.outputs, other.model_name, other.count)
    assert np.array_equal(one.inputs["x"], other.inputs["x"])


def test_slicing_copies_nothing() -> None:
    ((piece,), _) = decode(sliced(bytes(8), "UINT8", (4,), count=2))
    assert piece.inputs["x"].shape == (2, 4)
    assert piece.inputs["x"].base is not None


@pytest.mark.parametrize("content", [b"\xff\xff\xff", b"\x0a\xff"])
def test_bytes_that_are_no_message_are_refused(content: bytes) -> None:
    pieces, (fault,) = decode(parsed(content))
    assert not pieces
    assert (fault.offset, fault.error.reason) == (0, "MALFORMED_REQUEST")


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "reason"),
    [
        ("FP32", (1,), b"\0\0", "TENSOR_SIZE_MISMATCH"),
        ("BOOL", (2,), b"\x01\x02", "INVALID_CONTENTS"),
        ("FP32", (1 << 32, 1 << 32, 0), b"", "INVALID_SHAPE"),
    ],
)
def test_what_is_wrong_with_a_tensor_names_it(datatype: str, shape: tuple[int, ...], raw: bytes, reason: str) -> None:
    pieces, (fault,) = decode(sliced(raw, datatype, shape))
    assert not pieces
    assert fault.error.reason == reason
    assert "x" in fault.error.message


def test_one_requests_fault_is_not_its_neighbours() -> None:
    pieces, faults = decode(sliced(b"\1\2\0", "BOOL", (1,), count=3))
    assert [(piece.offset, piece.count) for piece in pieces] == [(0, 1), (2, 1)]
    assert [(fault.offset, fault.error.reason) for fault in faults] == [(1, "INVALID_CONTENTS")]


def test_cancelled_requests_are_cut_out() -> None:
    cancelled = sliced(bytes(range(6)), "UINT8", (1,), count=6)
    cancelled.cancelled |= {0, 3}
    pieces, _ = decode(cancelled)
    assert [(piece.offset, piece.inputs["x"].ravel().tolist()) for piece in pieces] == [(1, [1, 2]), (4, [4, 5])]


def test_requests_that_had_ended_when_they_were_sent_are_cut_out() -> None:
    block = replace(sliced(bytes(range(4)), "UINT8", (1,), count=4).block, ended=(0, 1))
    ((piece,), _) = decode(job(block))
    assert (piece.offset, piece.inputs["x"].ravel().tolist()) == (2, [2, 3])


def test_redeemed_bytes_are_cut_by_input() -> None:
    layout = Layout("m", (InputSpec("a", "UINT8", (3,)), InputSpec("b", "INT16", (1,))), (), 5)
    claimed = job(Block(1, 2, 1, 0, 0, layout, claim_size=5))
    assert not claimed.complete
    claimed.redeemed(b"\1\2\3\4\0")
    ((piece,), _) = decode(claimed)
    assert piece.inputs["a"].tolist() == [[1, 2, 3]]
    assert piece.inputs["b"].tolist() == [[4]]
    with pytest.raises(InvalidArgument):
        claimed.redeemed(b"\1\2")


def test_a_redeemed_body_is_parsed() -> None:
    claimed = job(Block(1, 2, 1, 0, 0, claim_size=99))
    claimed.redeemed(body())
    ((piece,), _) = decode(claimed)
    assert piece.inputs["x"].tolist() == [[1.0]]
