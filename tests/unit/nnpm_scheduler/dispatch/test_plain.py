"""A request is cut into what its block has in common and what is its own, and nothing is lost or confused."""

from random import Random

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from nnpm.api.inference import inference_pb2 as pb
from nnpm_scheduler.dispatch.plain import MOST_HEADER, Plain, split

names = st.text(max_size=8)
tensors = st.builds(
    lambda name, datatype, shape: pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape),
    names,
    st.sampled_from(["FP32", "INT8", "BYTES"]),
    st.lists(st.integers(-1, 300), max_size=3),
)
requests = st.builds(
    lambda model, version, id_, inputs, outputs, raw: pb.ModelInferRequest(
        model_name=model,
        model_version=version,
        id=id_,
        inputs=inputs,
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs],
        raw_input_contents=raw,
    ),
    names,
    names,
    st.text(max_size=200),
    st.lists(tensors, max_size=3),
    st.lists(names, max_size=2),
    st.lists(st.binary(max_size=300), min_size=1, max_size=3),
)


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def field(tag: int, data: bytes) -> bytes:
    return bytes([tag]) + varint(len(data)) + data


def joined(plain: Plain, body: bytes) -> pb.ModelInferRequest:
    """The request put together again: header with each raw content after its length, and the id."""
    raw = [body[start:end] for start, end in plain.spans]
    tail = b"".join(b"\x3a" + varint(len(data)) for data in raw)
    assert plain.header.endswith(tail)
    fields = plain.header[: len(plain.header) - len(tail)]
    whole = fields + field(0x1A, plain.id.encode()) + b"".join(field(0x3A, data) for data in raw)
    return pb.ModelInferRequest.FromString(whole)


def without_id(request: pb.ModelInferRequest) -> pb.ModelInferRequest:
    copy = pb.ModelInferRequest()
    copy.CopyFrom(request)
    copy.id = ""
    return copy


@given(requests)
def test_the_parts_put_together_again_are_the_request(request: pb.ModelInferRequest) -> None:
    body = request.SerializeToString()
    plain = split(body)
    assert plain is not None
    assert plain.id == request.id
    assert [body[start:end] for start, end in plain.spans] == list(request.raw_input_contents)
    assert joined(plain, body) == request


@given(requests, st.text(max_size=20), st.randoms(use_true_random=False))
def test_what_differs_in_id_and_bytes_alone_has_the_same_header(
    request: pb.ModelInferRequest, id_: str, random: Random
) -> None:
    other = without_id(request)
    other.id = id_
    other.raw_input_contents[:] = [random.randbytes(len(data)) for data in request.raw_input_contents]
    one, two = split(request.SerializeToString()), split(other.SerializeToString())
    assert one is not None
    assert two is not None
    assert one.header == two.header


@given(requests, requests)
def test_equal_headers_mean_equal_requests_but_for_id_and_bytes(
    one: pb.ModelInferRequest, two: pb.ModelInferRequest
) -> None:
    first, second = split(one.SerializeToString()), split(two.SerializeToString())
    assert first is not None
    assert second is not None
    one, two = without_id(one), without_id(two)
    for request in (one, two):
        request.raw_input_contents[:] = [bytes(len(data)) for data in request.raw_input_contents]
    assert (first.header == second.header) == (one.SerializeToString() == two.SerializeToString())


@given(st.permutations([field(0x0A, b"m"), field(0x12, b"1"), field(0x1A, b"id"), field(0x32, field(0x0A, b"y"))]))
def test_the_order_of_the_fields_before_the_raw_contents_is_free(fields: list[bytes]) -> None:
    body = b"".join(fields) + field(0x3A, b"1234")
    plain = split(body)
    assert plain is not None
    assert (plain.id, joined(plain, body)) == ("id", pb.ModelInferRequest.FromString(body))


GOOD = field(0x0A, b"m")
RAW = field(0x3A, b"1234")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        GOOD,
        RAW + GOOD,
        RAW + field(0x1A, b"id"),
        field(0x1A, b"a") + field(0x1A, b"b") + RAW,
        field(0x1A, b"\xff") + RAW,
        b"\x08\x01" + GOOD + RAW,
        field(0x42, b"unknown") + RAW,
        GOOD + RAW + b"\x08",
        GOOD + RAW[:-1],
        GOOD + b"\x3a\x84\x00" + b"1234",
        GOOD + b"\x3a\x84\x80\x80\x80\x80\x00" + b"1234",
        GOOD + b"\x3a",
        field(0x0A, b"m" * MOST_HEADER) + RAW,
    ],
    ids=[
        "empty",
        "no raw",
        "field after raw",
        "id after raw",
        "two ids",
        "id not utf-8",
        "a number",
        "unknown field",
        "cut tag",
        "cut bytes",
        "padded length",
        "endless length",
        "no length",
        "long header",
    ],
)
def test_what_is_odd_is_left_to_the_full_parse(body: bytes) -> None:
    assert split(body) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_odd_or_the_request_that_protobuf_reads(body: bytes) -> None:
    plain = split(body)
    if plain is None:
        return
    try:
        request = pb.ModelInferRequest.FromString(body)
    except DecodeError:
        # The header's own messages are not looked at here, but by the full parse that a header's first request gets.
        return
    assert [body[start:end] for start, end in plain.spans] == list(request.raw_input_contents)
    assert plain.id == request.id


@given(requests, st.integers(0, 400), st.integers(0, 255))
def test_one_wrong_byte_is_never_read_otherwise_than_protobuf_reads_it(
    request: pb.ModelInferRequest, at: int, byte: int
) -> None:
    body = bytearray(request.SerializeToString())
    body[at % len(body)] = byte
    test_any_bytes_are_odd_or_the_request_that_protobuf_reads.hypothesis.inner_test(bytes(body))  # type: ignore[attr-defined]
