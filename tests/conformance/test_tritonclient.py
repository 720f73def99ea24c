"""NVIDIA's own gRPC client, unchanged, against the scheduler."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from support import models
from support.mesh import Mesh
from support.reference import Reference, differences
from support.waiting import wait_until

Serve = Callable[..., tuple[str, Path]]


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(mesh.scheduler) as client:
        yield client


@pytest.fixture(scope="module")
def linear(serve: Serve) -> tuple[str, Path]:
    """Package and file of a deployed linear model."""
    return serve(models.linear(), "linear")


def _input(name: str, value: np.ndarray, datatype: str) -> triton.InferInput:
    given = triton.InferInput(name, list(value.shape), datatype)
    given.set_data_from_numpy(value)
    return given


def _specs(tensors: Iterable[object]) -> list[tuple[object, ...]]:
    return [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in tensors]


def _rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 4), dtype=np.float32)


def test_live_ready_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata().name


def test_model_ready_and_metadata(client: triton.InferenceServerClient, linear: tuple[str, Path]) -> None:
    package, _ = linear
    assert client.is_model_ready(package)
    assert client.is_model_ready(package.replace("/", "-"), "1.0.0")
    metadata = client.get_model_metadata(package)
    assert list(metadata.versions) == ["1.0.0"]
    assert _specs(metadata.inputs) == [("x", "FP32", [-1, 4])]
    assert _specs(metadata.outputs) == [("y", "FP32", [-1, 3])]


def test_model_config(client: triton.InferenceServerClient, linear: tuple[str, Path]) -> None:
    config = client.get_model_config(linear[0], as_json=True)["config"]
    assert config["name"]
    assert [given["name"] for given in config["input"]] == ["x"]
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert [given["name"] for given in config["output"]] == ["y"]


def test_infer_answers_bit_for_bit(client: triton.InferenceServerClient, linear: tuple[str, Path]) -> None:
    package, path = linear
    x = _rows(3, seed=1)
    answer = client.infer(package, [_input("x", x, "FP32")], request_id="one")
    assert not differences(Reference(path).run({"x": x}), {"y": answer.as_numpy("y")})
    response = answer.get_response()
    assert (response.id, response.model_name, response.model_version) == ("one", package, "1.0.0")


def test_requested_outputs_alone_come_back(client: triton.InferenceServerClient, linear: tuple[str, Path]) -> None:
    x = _rows(1, seed=2)
    answer = client.infer(linear[0], [_input("x", x, "FP32")], outputs=[triton.InferRequestedOutput("y")])
    assert [output.name for output in answer.get_response().outputs] == ["y"]
    with pytest.raises(InferenceServerException, match="nothing"):
        client.infer(linear[0], [_input("x", x, "FP32")], outputs=[triton.InferRequestedOutput("nothing")])


def test_async_infer(client: triton.InferenceServerClient, linear: tuple[str, Path]) -> None:
    package, path = linear
    answers: queue.Queue[tuple[int, triton.InferResult, object]] = queue.Queue()
    for number in range(20):
        client.async_infer(
            package,
            [_input("x", _rows(1 + number % 3, seed=number), "FP32")],
            callback=partial(lambda number, result, error: answers.put((number, result, error)), number),
        )
    reference = Reference(path)
    for _ in range(20):
        number, result, error = answers.get(timeout=20)
        assert error is None
        wanted = reference.run({"x": _rows(1 + number % 3, seed=number)})["y"]
        np.testing.assert_allclose(result.as_numpy("y"), wanted, rtol=1e-5, atol=1e-6)


def test_stream_infer_answers_each_request_and_its_errors(mesh: Mesh, linear: tuple[str, Path]) -> None:
    package, path = linear
    answers: queue.Queue[tuple[triton.InferResult | None, InferenceServerException | None]] = queue.Queue()
    with triton.InferenceServerClient(mesh.scheduler) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(10):
            client.async_stream_infer(package, [_input("x", _rows(2, seed=number), "FP32")], request_id=str(number))
        client.async_stream_infer("test/unknown", [_input("x", _rows(1, seed=0), "FP32")], request_id="bad")
        client.async_stream_infer(package, [_input("x", _rows(2, seed=10), "FP32")], request_id="10")
        reference = Reference(path)
        got = [answers.get(timeout=20) for _ in range(12)]
        client.stop_stream()
    errors = [error for _, error in got if error is not None]
    assert len(errors) == 1
    assert "test/unknown" in str(errors[0])
    numbers = [int(result.get_response().id) for result, error in got if error is None and result is not None]
    assert numbers == list(range(11))
    for result, error in got:
        if error is None and result is not None:
            wanted = reference.run({"x": _rows(2, seed=int(result.get_response().id))})["y"]
            np.testing.assert_allclose(result.as_numpy("y"), wanted, rtol=1e-5, atol=1e-6)


def test_statistics_count_what_ran(client: triton.InferenceServerClient, serve: Serve) -> None:
    package, _ = serve(models.linear(seed=5), "counted")
    for number in range(4):
        client.infer(package, [_input("x", _rows(2, seed=number), "FP32")])

    def counted() -> bool:
        (statistics,) = client.get_inference_statistics(package).model_stats
        return statistics.inference_count == 8 and statistics.inference_stats.success.count == 4

    wait_until(counted, 10, what="4 requests and 8 rows in the statistics")
    (statistics,) = client.get_inference_statistics(package).model_stats
    assert statistics.version == "1.0.0"
    assert 1 <= statistics.execution_count <= 4
    assert statistics.inference_stats.compute_infer.ns > 0
    assert statistics.last_inference > 0


def test_repository_index_unload_and_load(client: triton.InferenceServerClient, serve: Serve) -> None:
    package, _ = serve(models.linear(seed=6), "unloaded")
    name = package.replace("/", "-")

    def state() -> str:
        index = {model.name: model.state for model in client.get_model_repository_index().models}
        return index[name]

    assert state() == "READY"
    client.unload_model(name)
    assert not client.is_model_ready(name)
    assert state() != "READY"
    with pytest.raises(InferenceServerException):
        client.infer(name, [_input("x", _rows(1, seed=0), "FP32")])
    client.load_model(name)
    assert client.is_model_ready(name)
    assert client.infer(name, [_input("x", _rows(1, seed=0), "FP32")]).as_numpy("y").shape == (1, 3)


def test_load_deploys_a_package_that_is_only_published(
    client: triton.InferenceServerClient, mesh: Mesh, tmp_path: Path
) -> None:
    mesh.publish(models.save(models.linear(seed=7), tmp_path), "test/published-only")
    assert not client.is_model_ready("test/published-only")
    client.load_model("test/published-only")
    assert client.is_model_ready("test/published-only")


DATATYPES = [
    ("BOOL", TensorProto.BOOL, np.bool_),
    ("INT8", TensorProto.INT8, np.int8),
    ("INT16", TensorProto.INT16, np.int16),
    ("INT32", TensorProto.INT32, np.int32),
    ("INT64", TensorProto.INT64, np.int64),
    ("UINT8", TensorProto.UINT8, np.uint8),
    ("UINT16", TensorProto.UINT16, np.uint16),
    ("UINT32", TensorProto.UINT32, np.uint32),
    ("UINT64", TensorProto.UINT64, np.uint64),
    ("FP16", TensorProto.FLOAT16, np.float16),
    ("FP64", TensorProto.DOUBLE, np.float64),
]


@pytest.mark.parametrize(("datatype", "element_type", "dtype"), DATATYPES, ids=[row[0] for row in DATATYPES])
def test_each_datatype_goes_through_unchanged(
    client: triton.InferenceServerClient, serve: Serve, datatype: str, element_type: int, dtype: type[np.generic]
) -> None:
    package, _ = serve(models.identities(element_type), f"type-{datatype.lower()}")
    random = np.random.default_rng(len(datatype))
    for vector, matrix in (((3,), (2, 3)), ((0,), (2, 0)), ((1,), (0, 0))):
        shapes = {"scalar": (), "vector": vector, "matrix": matrix}
        given = {name: np.asarray(random.integers(0, 100, shape)).astype(dtype) for name, shape in shapes.items()}
        answer = client.infer(package, [_input(name, value, datatype) for name, value in given.items()])
        got = {name: answer.as_numpy(f"same_{name}") for name in given}
        assert not differences(given, got), shapes


def test_bytes_go_through_unchanged(client: triton.InferenceServerClient, serve: Serve) -> None:
    package, _ = serve(models.identity(TensorProto.STRING, ("a", "b")), "type-bytes")
    value = np.array([[b"", b"nul\x00inside"], ["zwei W\u00f6rter".encode(), b"long" * 10_000]], dtype=object)
    answer = client.infer(package, [_input("x", value, "BYTES")]).as_numpy("y")
    assert answer.tolist() == value.tolist()


def test_a_cancelled_call_ends(client: triton.InferenceServerClient, linear: tuple[str, Path]) -> None:
    done = threading.Event()
    errors: list[object] = []

    def note(result: object, error: object) -> None:
        errors.append(error)
        done.set()

    # either it was cancelled in time, or it had been answered: never neither
    client.async_infer(linear[0], [_input("x", _rows(1, seed=0), "FP32")], callback=note).cancel()
    assert done.wait(20)
    assert errors[0] is None or "cancel" in str(errors[0]).lower()


def test_a_deadline_that_has_passed_is_said_so(client: triton.InferenceServerClient, linear: tuple[str, Path]) -> None:
    # gRPC's clock goes by milliseconds: now and then an answer is faster than a deadline of a microsecond is noticed.
    def infer_often() -> None:
        for _ in range(200):
            client.infer(linear[0], [_input("x", _rows(1, seed=0), "FP32")], client_timeout=1e-6)

    with pytest.raises(InferenceServerException, match=r"(?i)deadline"):
        infer_often()
