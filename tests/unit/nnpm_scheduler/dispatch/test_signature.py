"""A request that does not fit is refused by its header, naming the tensor, what was wanted and what came."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import InvalidArgument, Unimplemented
from nnpm.queue.entry import InputSpec, Layout
from nnpm.tensors.datatypes import DATATYPES, by_name
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.dispatch.header import read_header
from nnpm_scheduler.dispatch.signature import Checked, check

TYPED = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
PAIR = Signature(
    inputs=(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT64", (3,), optional=True)),
    outputs=(TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "FP32", (-1,))),
)


def layout_of(request: pb.ModelInferRequest, signature: Signature = PAIR) -> Layout | None:
    return check(read_header(request.SerializeToString()), Checked.of(signature))


def refusal(request: pb.ModelInferRequest, signature: Signature = PAIR) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as refused:
        layout_of(request, signature)
    return refused.value


def one(datatype: str, shape: tuple[int, ...]) -> Signature:
    return Signature((TensorSpec("x", datatype, shape),), (TensorSpec("y", datatype, shape),))


def raw(*tensors: tuple[str, str, tuple[int, ...], bytes]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m", id="7")
    for name, datatype, shape, data in tensors:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(data)
    return request


def test_a_fitting_request_gives_a_layout_in_its_own_order() -> None:
    request = raw(("b", "INT64", (3,), bytes(range(24))), ("a", "FP32", (1, 2), b"12345678"))
    request.outputs.add(name="z")
    inputs = (InputSpec("b", "INT64", (3,)), InputSpec("a", "FP32", (1, 2)))
    assert layout_of(request) == Layout("m", inputs, ("z",), 32)


@pytest.mark.parametrize("datatype", sorted(set(DATATYPES) - {"BYTES"}))
@given(shape=st.lists(st.integers(0, 5), max_size=4), off=st.sampled_from([-1, 0, 1]))
@settings(max_examples=20, deadline=None)
def test_raw_bytes_must_be_exactly_those_of_the_shape(datatype: str, shape: list[int], off: int) -> None:
    wanted = by_name(datatype).itemsize * int(np.prod(shape))
    request = raw(("x", datatype, tuple(shape), bytes(max(0, wanted + off))))
    signature = one(datatype, (-1,) * len(shape))
    if max(0, wanted + off) == wanted:
        assert layout_of(request, signature) is not None
    else:
        error = refusal(request, signature)
        assert error.reason == "TENSOR_SIZE_MISMATCH"
        assert f"wanted {wanted} bytes" in error.message


@pytest.mark.parametrize("datatype", sorted(TYPED))
@pytest.mark.parametrize("count", [0, 5, 6, 7])
def test_typed_contents_must_have_one_element_for_each_place(datatype: str, count: int) -> None:
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[2, 3])
    getattr(tensor.contents, TYPED[datatype]).extend([1] * count)
    signature = one(datatype, (-1, 3))
    if count == 6:
        assert layout_of(request, signature) is None
    else:
        error = refusal(request, signature)
        assert error.reason == "TENSOR_SIZE_MISMATCH"
        assert f"got {count} elements" in error.message


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_travels_raw_only(datatype: str) -> None:
    request = pb.ModelInferRequest()
    request.inputs.add(name="x", datatype=datatype, shape=[1]).contents.fp32_contents.append(1)
    assert refusal(request, one(datatype, (1,))).reason == "INVALID_CONTENTS"


def test_bytes_elements_are_framed_or_typed() -> None:
    signature = one("BYTES", (-1,))
    framed = b"\x02\0\0\0hi" + b"\0\0\0\0"
    assert layout_of(raw(("x", "BYTES", (2,), framed)), signature) is None
    assert refusal(raw(("x", "BYTES", (3,), framed)), signature).reason == "TENSOR_SIZE_MISMATCH"
    assert refusal(raw(("x", "BYTES", (0,), b"1")), signature).reason == "TENSOR_SIZE_MISMATCH"
    typed = pb.ModelInferRequest()
    typed.inputs.add(name="x", datatype="BYTES", shape=[2]).contents.bytes_contents.extend([b"a", b""])
    assert layout_of(typed, signature) is None
    many = pb.ModelInferRequest()
    many.inputs.add(name="x", datatype="BYTES", shape=[9_000]).contents.bytes_contents.extend([b""] * 9_000)
    assert layout_of(many, signature) is None


def test_scalars_and_empty_tensors_fit() -> None:
    assert layout_of(raw(("x", "FP32", (), b"1234")), one("FP32", ())) is not None
    assert layout_of(raw(("x", "FP32", (0, 2**40), b"")), one("FP32", (-1, -1))) is not None
    empty = pb.ModelInferRequest()
    empty.inputs.add(name="x", datatype="FP16", shape=[0])
    assert layout_of(empty, one("FP16", (-1,))) is None


def test_a_model_without_inputs_takes_a_request_without_inputs() -> None:
    assert layout_of(pb.ModelInferRequest(model_name="m"), Signature((), (TensorSpec("y", "FP32", ()),))) is not None


def test_an_optional_input_may_be_left_out_and_a_required_one_may_not() -> None:
    assert layout_of(raw(("a", "FP32", (1, 2), bytes(8)))) is not None
    error = refusal(raw(("b", "INT64", (3,), bytes(24))))
    assert (error.reason, error.message) == ("MISSING_INPUT", "input 'a': wanted it present, got only 'b'")


@pytest.mark.parametrize("parameter", ["shared_memory_region", "classification"])
@pytest.mark.parametrize("of", ["input", "output"])
def test_an_extension_that_would_change_the_answer_is_refused_and_not_passed_over(parameter: str, of: str) -> None:
    request = raw(("a", "FP32", (1, 2), bytes(8)))
    tensor = request.inputs[0] if of == "input" else request.outputs.add(name="y")
    tensor.parameters["binary_data"].bool_param = True
    assert layout_of(request) is not None
    tensor.parameters[parameter].int64_param = 3
    with pytest.raises(Unimplemented, match=parameter) as refused:
        layout_of(request)
    assert refused.value.reason == "EXTENSION_NOT_SERVED"


def test_any_rank_fits_an_unranked_input() -> None:
    signature = Signature((TensorSpec("x", "INT8", (), unranked=True),), ())
    assert layout_of(raw(("x", "INT8", (2, 3), bytes(6))), signature) is not None
    assert refusal(raw(("x", "INT8", (-2, -3), bytes(6))), signature).reason == "INVALID_SHAPE"
    assert refusal(raw(("x", "INT8", (2**40,) * 1_000, b"")), signature).reason == "INVALID_SHAPE"


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((2,), "WRONG_SHAPE"),
        ((1, 2, 1), "WRONG_SHAPE"),
        ((1, 3), "WRONG_SHAPE"),
        ((-1, 2), "INVALID_SHAPE"),
        ((-(2**63), 2), "INVALID_SHAPE"),
        ((2**62, 2), "INVALID_SHAPE"),
        ((2**63 - 1, 2), "INVALID_SHAPE"),
    ],
)
def test_wrong_negative_and_enormous_dimensions_are_refused(shape: tuple[int, ...], reason: str) -> None:
    error = refusal(raw(("a", "FP32", shape, bytes(8))))
    assert error.reason == reason
    assert error.violations[0].field == "inputs[0].shape"
    assert "input 'a'" in error.message
    assert ("no negative dimension" in error.message) == (min(shape) < 0)


def test_dimensions_whose_product_wraps_around_64_bits_are_refused() -> None:
    # 2**32 * 2**32 is 0 modulo 2**64: no bytes would seem to fit.
    assert refusal(raw(("x", "INT8", (2**32, 2**32), b"")), one("INT8", (-1, -1))).reason == "INVALID_SHAPE"


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (raw(("c", "FP32", (1, 2), bytes(8))), "UNKNOWN_INPUT", "inputs[0].name"),
        (raw(*[("a", "FP32", (1, 2), bytes(8))] * 2), "DUPLICATE_TENSOR", "inputs[1].name"),
        (raw(("a", "FP64", (1, 2), bytes(16))), "WRONG_DATATYPE", "inputs[0].datatype"),
        (raw(("a", "", (1, 2), bytes(8))), "WRONG_DATATYPE", "inputs[0].datatype"),
    ],
)
def test_names_and_datatypes_must_be_those_of_the_signature(
    request_: pb.ModelInferRequest, reason: str, field: str
) -> None:
    error = refusal(request_)
    assert (error.reason, error.violations[0].field) == (reason, field)


def test_raw_and_typed_contents_do_not_mix() -> None:
    request = raw(("a", "FP32", (1, 2), bytes(8)))
    request.inputs[0].contents.fp32_contents.extend([1, 2])
    assert refusal(request).reason == "RAW_CONTENTS_MISMATCH"
    fewer = raw(("a", "FP32", (1, 2), bytes(8)))
    fewer.inputs.add(name="b", datatype="INT64", shape=[3]).contents.int64_contents.extend([1, 2, 3])
    assert refusal(fewer).reason == "RAW_CONTENTS_MISMATCH"


def test_there_must_be_as_many_raw_contents_as_inputs() -> None:
    request = raw(("a", "FP32", (1, 2), bytes(8)))
    request.raw_input_contents.append(b"")
    assert refusal(request).reason == "RAW_CONTENTS_MISMATCH"


def test_typed_contents_must_stand_in_the_datatypes_own_field() -> None:
    request = pb.ModelInferRequest()
    request.inputs.add(name="a", datatype="FP32", shape=[1, 2]).contents.fp64_contents.extend([1, 2])
    error = refusal(request)
    assert (error.reason, error.metadata["wanted"]) == ("INVALID_CONTENTS", "FP32 in fp32_contents")


@pytest.mark.parametrize(("names", "reason"), [(["w"], "UNKNOWN_OUTPUT"), (["y", "y"], "DUPLICATE_TENSOR")])
def test_requested_outputs_must_exist_once(names: list[str], reason: str) -> None:
    request = raw(("a", "FP32", (1, 2), bytes(8)))
    for name in names:
        request.outputs.add(name=name)
    assert refusal(request).reason == reason


def test_a_refusal_stays_short_whatever_the_client_sends() -> None:
    error = refusal(raw(("x" * 100_000, "FP32", (1,) * 10_000, b"")))
    assert len(error.message) < 400
    error = refusal(raw(("a", "FP32", (1,) * 10_000, b"")))
    assert len(error.message) < 400
