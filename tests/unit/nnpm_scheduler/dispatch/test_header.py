"""The scanner agrees with protobuf's own parser about what a request is, and about what it says."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import InvalidArgument
from nnpm_scheduler.dispatch.header import MOST_ELEMENTS_WALKED, MOST_FIELDS, UNCOUNTED, Header, read_header

CONTENTS = {
    1: "bool_contents",
    2: "int_contents",
    3: "int64_contents",
    4: "uint_contents",
    5: "uint64_contents",
    6: "fp32_contents",
    7: "fp64_contents",
    8: "bytes_contents",
}

names = st.text(max_size=6)
int64 = st.integers(-(2**63), 2**63 - 1)
parameters = st.dictionaries(
    names,
    st.one_of(
        st.builds(pb.InferParameter, bool_param=st.booleans()),
        st.builds(pb.InferParameter, int64_param=int64),
        st.builds(pb.InferParameter, string_param=names),
        st.builds(pb.InferParameter, double_param=st.floats(allow_nan=False)),
    ),
    max_size=2,
)
contents = st.builds(
    pb.InferTensorContents,
    bool_contents=st.lists(st.booleans(), max_size=4),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    int64_contents=st.lists(int64, max_size=4),
    uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=4),
    uint64_contents=st.lists(st.integers(0, 2**64 - 1), max_size=4),
    fp32_contents=st.lists(st.floats(width=32, allow_nan=False), max_size=4),
    fp64_contents=st.lists(st.floats(allow_nan=False), max_size=4),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=4),
)
inputs = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=names,
    datatype=names,
    shape=st.lists(int64, max_size=4),
    parameters=parameters,
    contents=st.none() | contents,
)
outputs = st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=names, parameters=parameters)
requests = st.builds(
    pb.ModelInferRequest,
    model_name=names,
    model_version=names,
    id=names,
    parameters=parameters,
    inputs=st.lists(inputs, max_size=3),
    outputs=st.lists(outputs, max_size=3),
    raw_input_contents=st.lists(st.binary(max_size=200), max_size=3),
).map(lambda request: request.SerializeToString())

# Pieces that hit the grammar's corners: long varints, groups, wrong wire types, unknown fields.
pieces = st.one_of(
    st.binary(max_size=3),
    st.integers(0, 11).map(lambda n: b"\x80" * n),
    st.integers(0, 11).map(lambda n: b"\xff" * n + b"\x01"),
    st.integers(0, 127).map(lambda n: bytes([n])),
    st.integers(0, 15).map(lambda n: bytes([n << 3 | 3, n << 3 | 4])),
    st.sampled_from(
        [b"\x1a\x02\x08\x01", b"\x18\x05", b"\x2a\x00", b"\x38\x01", b"\xfa\x01\x01a", b"\x0a\x02\xff\xfe"]
    ),
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A request with bytes removed, replaced or put in, or two of them joined."""
    body = draw(requests) + draw(st.just(b"") | requests)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(pieces) + body[at + draw(st.integers(0, 3)) :]
    return body


def expect_agreement(body: bytes) -> None:
    try:
        request = pb.ModelInferRequest.FromString(body)
    except DecodeError:
        with pytest.raises(InvalidArgument) as refused:
            read_header(body)
        assert refused.value.reason == "MALFORMED_REQUEST"
        return
    header = read_header(body)
    assert (header.model_name, header.model_version, header.id) == (
        request.model_name,
        request.model_version,
        request.id,
    )
    assert header.outputs == [output.name for output in request.outputs]
    assert header.asked >= {key for tensor in (*request.inputs, *request.outputs) for key in tensor.parameters}
    raw = [body[span.offset : span.offset + span.length] for span in header.raw]
    assert raw == list(request.raw_input_contents)
    assert len(header.inputs) == len(request.inputs)
    for got, wanted in zip(header.inputs, request.inputs, strict=True):
        assert (got.name, got.datatype, got.shape) == (wanted.name, wanted.datatype, tuple(wanted.shape))
        assert (got.typed is not None) == wanted.HasField("contents")
        for number, field in CONTENTS.items():
            assert (got.typed or {}).get(number, 0) == len(getattr(wanted.contents, field))


@given(requests)
@settings(max_examples=100, deadline=None)
def test_what_protobuf_writes_is_read_alike(body: bytes) -> None:
    expect_agreement(body)


@given(spoiled())
@settings(max_examples=200, deadline=None)
def test_spoiled_requests_are_accepted_or_refused_alike(body: bytes) -> None:
    expect_agreement(body)


@given(st.binary(max_size=64))
@example(b"")
@example(b"\x00")
@example(b"\x0b\x0c")
@example(b"\x8a\x80\x80\x80\x80\x00\x01a")
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_accepted_or_refused_alike(body: bytes) -> None:
    expect_agreement(body)


def test_contents_given_in_two_parts_are_added_up() -> None:
    first = pb.ModelInferRequest.InferInputTensor(contents=pb.InferTensorContents(int64_contents=[1, 2]))
    second = pb.ModelInferRequest.InferInputTensor(
        contents=pb.InferTensorContents(int64_contents=[3], bool_contents=[True])
    )
    tensor = first.SerializeToString() + second.SerializeToString()
    body = b"\x2a" + bytes([len(tensor)]) + tensor
    expect_agreement(body)
    assert read_header(body).inputs[0].typed == {3: 3, 1: 1}


def test_unpacked_shapes_and_contents_are_read_as_packed_ones() -> None:
    tensor = b"\x18\x02\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x2a\x04\x10\x05\x10\x06"
    body = b"\x2a" + bytes([len(tensor)]) + tensor
    expect_agreement(body)
    assert read_header(body).inputs[0].shape == (2, -1)


def test_a_request_of_countless_fields_costs_no_more_than_the_limit() -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_header(b"\x3a\x00" * (MOST_FIELDS + 1))
    assert refused.value.reason == "REQUEST_TOO_COMPLEX"


def test_many_bytes_elements_are_left_uncounted() -> None:
    request = pb.ModelInferRequest()
    request.inputs.add(name="x").contents.bytes_contents.extend([b""] * (2 * MOST_ELEMENTS_WALKED))
    header: Header = read_header(request.SerializeToString())
    assert header.inputs[0].typed == {8: UNCOUNTED}
    assert header.inputs[0].name == "x"


def test_packed_numbers_are_counted_however_many() -> None:
    request = pb.ModelInferRequest()
    request.inputs.add().contents.int_contents.extend(range(-200_000, 200_000))
    request.inputs.add().contents.fp64_contents.extend([1.0] * 100_000)
    header = read_header(request.SerializeToString())
    assert [tensor.typed for tensor in header.inputs] == [{2: 400_000}, {7: 100_000}]
