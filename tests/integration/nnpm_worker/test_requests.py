"""One request after another: what goes in comes out, or a clear error."""

import asyncio
from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from nnpm.api.inference.inference_pb2 import ModelInferRequest
from nnpm.tensors.datatypes import DATATYPES
from support import models
from support.processes import Process
from support.reference import Reference, differences
from support.scheduler_double import Connected, SchedulerDouble, singles
from support.waiting import eventually

LINEAR = [("x", "FP32", (-1, 4)), ("y", "FP32", (-1, 3))]
ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


@pytest.fixture
async def worker(scheduler: SchedulerDouble, start_worker: Callable[..., Process]) -> Connected:
    """A connected worker with the model `linear-1`."""
    start_worker()
    connected = await scheduler.worker()
    await scheduler.serve(connected, {"model.onnx": models.linear().SerializeToString()}, LINEAR, "linear-1")
    return connected


async def test_an_answer_equals_onnx_runtime_in_process_bit_for_bit(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    x = np.random.default_rng(1).standard_normal((3, 4), dtype=np.float32)
    request = scheduler.request({"x": x})
    await scheduler.send("linear-1", request)
    response = await scheduler.response(request)
    assert (response.model_name, response.model_version, response.id) == ("acme-tiny", "1.2.3", "")
    wanted = Reference(models.linear().SerializeToString()).run({"x": x})
    assert not differences(wanted, await scheduler.answer(request))
    await eventually(lambda: scheduler.at_rest("linear-1"), 5, what="the entry is deleted and acknowledged")


async def test_a_layout_and_a_full_parse_give_the_same_answer(scheduler: SchedulerDouble, worker: Connected) -> None:
    x = np.random.default_rng(2).standard_normal((1, 4), dtype=np.float32)
    parsed, sliced = scheduler.request({"x": x}, whole=True), scheduler.request({"x": x})
    assert (parsed.layout, sliced.layout is None) == (None, False)
    await scheduler.send("linear-1", parsed)
    await scheduler.send("linear-1", sliced)
    assert await scheduler.response(parsed) == await scheduler.response(sliced)


async def test_the_requests_of_a_block_get_the_answers_that_they_would_get_alone(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    random = np.random.default_rng(6)
    inputs = [{"x": random.standard_normal((rows, 4), dtype=np.float32)} for rows in [2] * 20 + [1] * 5]
    blocks = [scheduler.block(inputs[:20]), scheduler.block(inputs[20:])]
    await scheduler.send("linear-1", *blocks)
    reference = Reference(models.linear().SerializeToString())
    for each, request in zip(inputs, [*singles(blocks[0]), *singles(blocks[1])], strict=True):
        assert not differences(reference.run(each), await scheduler.answer(request))


@pytest.mark.parametrize("whole", [True, False])
async def test_a_claimed_request_is_redeemed(scheduler: SchedulerDouble, worker: Connected, whole: bool) -> None:
    x = np.random.default_rng(3).standard_normal((200_000, 4), dtype=np.float32)
    request = scheduler.request({"x": x}, claimed=True, whole=whole)
    await scheduler.send("linear-1", request)
    wanted = Reference(models.linear().SerializeToString()).run({"x": x})
    assert not differences(wanted, await scheduler.answer(request))


async def test_a_claim_that_is_no_longer_wanted_harms_no_neighbour(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    x = np.ones((1, 4), np.float32)
    gone, kept = scheduler.request({"x": x}, claimed=True), scheduler.request({"x": x})
    scheduler.bodies.clear()
    await scheduler.send("linear-1", gone, kept)
    assert (await scheduler.error(gone)).reason == "CALL_CANCELLED"
    assert (await scheduler.answer(kept))["y"].shape == (1, 3)


async def test_each_wrong_request_is_refused_alone(scheduler: SchedulerDouble, worker: Connected) -> None:
    x = np.ones((1, 4), np.float32)
    good = [scheduler.request({"x": x}) for _ in range(3)]
    wrong = {
        "RUNTIME_REFUSED": scheduler.request({"x": np.ones((1, 5), np.float32)}),
        "UNKNOWN_OUTPUT": scheduler.request({"x": x}, outputs=[{"name": "z"}]),
        "MALFORMED_REQUEST": scheduler.request_of(b"\xff\xff\xff"),
        "TENSOR_SIZE_MISMATCH": scheduler.request_of(_body(x.tobytes()[:-1])),
        "INVALID_SHAPE": scheduler.request_of(_body(x.tobytes(), shape=(-1, 4))),
        "UNKNOWN_DATATYPE": scheduler.request_of(_body(x.tobytes(), datatype="FLOAT")),
    }
    await scheduler.send("linear-1", good[0], *wrong.values(), *good[1:])
    for reason, request in wrong.items():
        error = await scheduler.error(request)
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", reason), error.message
        assert "Traceback" not in error.message
    for request in good:
        assert (await scheduler.answer(request))["y"].shape == (1, 3)


async def test_a_missing_input_is_refused_with_its_name(scheduler: SchedulerDouble, worker: Connected) -> None:
    request = scheduler.request({"z": np.ones((1, 4), np.float32)})
    await scheduler.send("linear-1", request)
    error = await scheduler.error(request)
    assert error.code == "INVALID_ARGUMENT"
    assert "x" in error.message


async def test_what_onnx_runtime_refuses_when_it_runs_comes_back_as_it_said_it(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    model = models.make_model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4]), ("shape", TensorProto.INT64, ["k"])],
        [("y", TensorProto.FLOAT, None)],
    )
    signature = [("x", "FP32", (-1, 4)), ("shape", "INT64", (-1,)), ("y", "FP32", (-1,))]
    await scheduler.serve(worker, {"model.onnx": model.SerializeToString()}, signature, "reshape")
    x = np.ones((1, 4), np.float32)
    refused = scheduler.request({"x": x, "shape": np.array([3])})
    fine = scheduler.request({"x": x, "shape": np.array([2, 2])})
    await scheduler.send("reshape", refused, fine)
    error = await scheduler.error(refused)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "RUNTIME_REFUSED")
    assert "cannot be reshaped" in error.message
    assert (await scheduler.answer(fine))["y"].shape == (2, 2)


async def test_an_expired_request_is_not_run(scheduler: SchedulerDouble, worker: Connected) -> None:
    expired = scheduler.request({"x": np.ones((1, 4), np.float32)}, deadline=-0.01)
    await scheduler.send("linear-1", expired)
    assert (await scheduler.error(expired)).code == "DEADLINE_EXCEEDED"


async def test_every_datatype_and_shape_goes_through_unchanged(scheduler: SchedulerDouble, worker: Connected) -> None:
    shapes = [(), (0,), (2, 0, 3), (3,), (2, 2)]
    load = [_serve_identity(scheduler, worker, name, rank) for name in ELEMENT_TYPES for rank in range(4)]
    await asyncio.gather(*load)
    for name in ELEMENT_TYPES:
        requests = [(array, scheduler.request({"x": array})) for array in (_array(name, shape) for shape in shapes)]
        for array, request in requests:
            await scheduler.send(f"{name}-{array.ndim}", request)
        for array, request in requests:
            assert not differences({"y": array}, await scheduler.answer(request)), (name, array.shape)


async def _serve_identity(scheduler: SchedulerDouble, worker: Connected, name: str, rank: int) -> None:
    model = models.identity(ELEMENT_TYPES[name], [f"d{axis}" for axis in range(rank)])
    signature = [("x", name, (-1,) * rank), ("y", name, (-1,) * rank)]
    await scheduler.serve(worker, {"model.onnx": model.SerializeToString()}, signature, f"{name}-{rank}")


def _array(name: str, shape: Sequence[int]) -> np.ndarray:
    random = np.random.default_rng(5)
    if name == "BYTES":
        words = np.empty(int(np.prod(shape)), object)
        words[:] = [[b"a\x00b", b"", "größer".encode()][index % 3] for index in range(words.size)]
        return words.reshape(shape)
    values = random.integers(0, 2 if name == "BOOL" else 100, shape)
    dtype = ml_dtypes.bfloat16 if name == "BF16" else DATATYPES[name].dtype
    return np.asarray(values).astype(dtype)


async def test_text_that_is_not_utf8_is_refused(scheduler: SchedulerDouble, worker: Connected) -> None:
    await _serve_identity(scheduler, worker, "BYTES", 1)
    words = np.array([b"\xff"], object)
    request = scheduler.request({"x": words})
    await scheduler.send("BYTES-1", request)
    error = await scheduler.error(request)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_CONTENTS")


async def test_typed_contents_are_taken_too(scheduler: SchedulerDouble, worker: Connected) -> None:
    message = ModelInferRequest(model_name="acme/tiny")
    tensor = message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    tensor.contents.fp32_contents.extend([1, 2, 3, 4])
    request = scheduler.request_of(message.SerializeToString())
    await scheduler.send("linear-1", request)
    x = np.array([[1, 2, 3, 4]], np.float32)
    wanted = Reference(models.linear().SerializeToString()).run({"x": x})
    assert not differences(wanted, await scheduler.answer(request))


async def test_a_reply_larger_than_a_message_is_an_error_and_not_a_silence(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    model = models.make_model(
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        [("x", TensorProto.FLOAT, [1]), ("shape", TensorProto.INT64, ["k"])],
        [("y", TensorProto.FLOAT, None)],
    )
    signature = [("x", "FP32", (1,)), ("shape", "INT64", (-1,)), ("y", "FP32", (-1,))]
    await scheduler.serve(worker, {"model.onnx": model.SerializeToString()}, signature, "expand")
    large = scheduler.request({"x": np.ones(1, np.float32), "shape": np.array([17 << 20])})
    enormous = scheduler.request({"x": np.ones(1, np.float32), "shape": np.array([1 << 44])})
    small = scheduler.request({"x": np.ones(1, np.float32), "shape": np.array([5])})
    await scheduler.send("expand", large, enormous, small)
    assert (await scheduler.error(large)).reason == "REPLY_TOO_LARGE"
    assert (await scheduler.error(enormous)).reason == "OUT_OF_MEMORY"
    assert (await scheduler.answer(small))["y"].shape == (5,)


def _body(content: bytes, *, shape: Sequence[int] = (1, 4), datatype: str = "FP32") -> bytes:
    message = ModelInferRequest(model_name="acme-tiny")
    message.inputs.add(name="x", datatype=datatype, shape=shape)
    message.raw_input_contents.append(content)
    return message.SerializeToString()


def test_the_element_types_are_all_of_the_protocols() -> None:
    assert ELEMENT_TYPES.keys() == DATATYPES.keys()
