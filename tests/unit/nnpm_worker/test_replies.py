import ml_dtypes
import numpy as np
import pytest

from nnpm.api.inference.inference_pb2 import ModelInferResponse
from nnpm.errors import InvalidArgument, ResourceExhausted
from nnpm.tensors.messages import arrays
from nnpm_worker.replies import ReplyWriter, Written


def responses(written: Written) -> list[ModelInferResponse]:
    """The replies as a transport puts them together, without ids."""
    found = []
    for index in range(written.count):
        response = ModelInferResponse.FromString(written.head)
        for content in written.raw:
            stride = len(content) // written.count
            response.raw_output_contents.append(bytes(content[index * stride : (index + 1) * stride]))
        found.append(response)
    return found


def test_a_reply_repeats_what_was_asked_and_carries_every_output() -> None:
    outputs = {
        "scalar": np.array(1.5, np.float64),
        "empty": np.zeros((0, 3), np.int8),
        "half": np.ones((2, 2), ml_dtypes.bfloat16),
        "words": np.array(["größer", "a\x00b"], object),
        "columns": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    }
    (response,) = responses(ReplyWriter("1.0.0", 1 << 20).write("acme/tiny", outputs))
    assert (response.model_name, response.model_version) == ("acme/tiny", "1.0.0")
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
        writer.write("acme/tiny", {"y": np.zeros(1 << 20, np.uint8)})
    assert error.value.reason == "REPLY_TOO_LARGE"
    assert writer.write("acme/tiny", {"y": np.zeros((1 << 20) - (1 << 15), np.uint8)})


def test_an_output_that_the_protocol_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidArgument) as error:
        ReplyWriter("1.0.0", 1 << 20).write("acme/tiny", {"y": np.zeros(1, np.complex64)})
    assert error.value.reason == "UNKNOWN_DATATYPE"


def test_the_replies_of_many_are_one_head_and_their_own_bytes() -> None:
    outputs = {"y": np.arange(12, dtype=np.int32).reshape(6, 2), "z": np.arange(6, dtype=np.float64)}
    (written,) = ReplyWriter("1.0.0", 1 << 20).write_all("m", outputs, 3)
    assert written.count == 3
    for index, response in enumerate(responses(written)):
        found = arrays(response.outputs, response.raw_output_contents)
        assert np.array_equal(found["y"], outputs["y"][2 * index : 2 * index + 2])
        assert np.array_equal(found["z"], outputs["z"][2 * index : 2 * index + 2])


def test_texts_differ_in_length_and_go_one_by_one() -> None:
    words = np.array(["a", "bb", "", "dddd"], object)
    written = ReplyWriter("1.0.0", 1 << 20).write_all("m", {"words": words}, 2)
    assert [each.count for each in written] == [1, 1]
    found = [arrays(r.outputs, r.raw_output_contents)["words"].tolist() for each in written for r in responses(each)]
    assert found == [[b"a", b"bb"], [b"", b"dddd"]]


def test_a_head_is_written_anew_for_another_name_shape_or_datatype() -> None:
    writer = ReplyWriter("1.0.0", 1 << 20)
    heads = [
        writer.write("m", {"y": np.zeros(2, np.float32)}).head,
        writer.write("n", {"y": np.zeros(2, np.float32)}).head,
        writer.write("m", {"y": np.zeros(3, np.float32)}).head,
        writer.write("m", {"y": np.zeros(2, np.int32)}).head,
    ]
    assert len(set(heads)) == 4
    assert writer.write("m", {"y": np.ones(2, np.float32)}).head == heads[0]
