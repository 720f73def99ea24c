import numpy as np
import pytest

from nnpm.api.inference.inference_pb2 import ModelInferRequest
from nnpm.errors import InvalidArgument
from nnpm.queue.entry import InputSpan, Layout
from nnpm_worker.requests import decode_call


def body(content: bytes = b"\x00\x00\x80\x3f") -> bytes:
    message = ModelInferRequest(model_name="acme/tiny@^1", id="7", outputs=[{"name": "y"}])
    message.inputs.add(name="x", datatype="FP32", shape=[1])
    message.raw_input_contents.append(content)
    return message.SerializeToString()


def test_a_sliced_and_a_parsed_body_are_the_same_call() -> None:
    content = body()
    layout = Layout("acme/tiny@^1", "7", (InputSpan("x", "FP32", (1,), len(content) - 4, 4),), ("y",))
    parsed, sliced = decode_call(content, None), decode_call(content, layout)
    assert (parsed.outputs, parsed.model_name, parsed.id) == (sliced.outputs, sliced.model_name, sliced.id)
    assert np.array_equal(parsed.inputs["x"], sliced.inputs["x"])


def test_slicing_copies_nothing() -> None:
    content = body()
    layout = Layout("m", "", (InputSpan("x", "UINT8", (4,), len(content) - 4, 4),), ())
    assert decode_call(content, layout).inputs["x"].base is not None


@pytest.mark.parametrize("content", [b"\xff\xff\xff", b"\x0a\xff"])
def test_bytes_that_are_no_message_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidArgument) as error:
        decode_call(content, None)
    assert error.value.reason == "MALFORMED_REQUEST"


def test_a_span_beyond_the_body_is_refused() -> None:
    content = body()
    with pytest.raises(InvalidArgument) as error:
        decode_call(content, Layout("m", "", (InputSpan("x", "FP32", (1,), len(content) - 2, 4),), ()))
    assert error.value.reason == "TENSOR_SIZE_MISMATCH"


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "reason"),
    [("BOOL", (2,), b"\x01\x02", "INVALID_CONTENTS"), ("FP32", (1 << 32, 1 << 32, 0), b"", "INVALID_SHAPE")],
)
def test_what_is_wrong_with_a_sliced_tensor_names_the_tensor(
    datatype: str, shape: tuple[int, ...], raw: bytes, reason: str
) -> None:
    content = body(raw)
    layout = Layout("m", "", (InputSpan("mask", datatype, shape, len(content) - len(raw), len(raw)),), ())
    with pytest.raises(InvalidArgument, match="mask") as error:
        decode_call(content, layout)
    assert error.value.reason == reason
