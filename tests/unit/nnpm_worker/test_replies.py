import ml_dtypes
import numpy as np
import pytest

from nnpm.api.inference.inference_pb2 import ModelInferResponse
from nnpm.errors import InvalidArgument, ResourceExhausted
from nnpm.tensors.messages import arrays
from nnpm_worker.replies import ReplyWriter
from nnpm_worker.requests import Call

CALL = Call({}, (), "acme/tiny", "call-1")


def test_a_reply_repeats_what_was_asked_and_carries_every_output() -> None:
    outputs = {
        "scalar": np.array(1.5, np.float64),
        "empty": np.zeros((0, 3), np.int8),
        "half": np.ones((2, 2), ml_dtypes.bfloat16),
        "words": np.array(["größer", "a\x00b"], object),
        "columns": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    }
    response = ModelInferResponse.FromString(ReplyWriter("1.0.0", 1 << 20).write(CALL, outputs))
    assert (response.model_name, response.model_version, response.id) == ("acme/tiny", "1.0.0", "call-1")
    found = arrays(response.outputs, response.raw_output_contents)
    assert list(found) == list(outputs)
    for name in ("scalar", "empty", "half", "columns"):
        assert found[name].dtype == outputs[name].dtype
        assert np.array_equal(found[name], outputs[name])
        assert found[name].shape == outputs[name].shape
    assert found["words"].tolist() == ["größer".encode(), b"a\x00b"]


def test_a_reply_over_the_limit_is_refused() -> None:
    writer = ReplyWriter("1.0.0", 1 << 20)
    with pytest.raises(ResourceExhausted) as error:
        writer.write(CALL, {"y": np.zeros(1 << 20, np.uint8)})
    assert error.value.reason == "REPLY_TOO_LARGE"
    assert writer.write(CALL, {"y": np.zeros((1 << 20) - (1 << 15), np.uint8)})


def test_an_output_that_the_protocol_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidArgument) as error:
        ReplyWriter("1.0.0", 1 << 20).write(CALL, {"y": np.zeros(1, np.complex64)})
    assert error.value.reason == "UNKNOWN_DATATYPE"
