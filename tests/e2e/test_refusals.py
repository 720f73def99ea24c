"""Bad input, from outside: what a client or a person does wrong is refused with a stable reason, and hurts nobody.

The same faults are tested where they are found, in the unit and integration suites; here they go through a whole mesh.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from onnx import TensorProto, helper

from nnpm.api.inference.inference_pb2 import ModelInferRequest, ModelInferResponse
from support import models
from support.mesh import Mesh

INFER = "/inference.GRPCInferenceService/ModelInfer"
MODEL = "test/strict"
REFUSED, NOT_FOUND = 4, 3
"""Exit codes of the command line."""


@pytest.fixture(scope="module")
def strict(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A deployed model with x: FP32 [-1, 4]."""
    mesh.publish(models.save(models.linear(), tmp_path_factory.mktemp("strict")), MODEL)
    mesh.deploy(MODEL)
    return MODEL


@pytest.fixture(scope="module")
def channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(mesh.scheduler, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def _request(
    name: str = "x",
    datatype: str = "FP32",
    shape: Sequence[int] = (1, 4),
    raw: bytes = bytes(16),
    model: str = MODEL,
    version: str = "",
) -> ModelInferRequest:
    tensor = ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    return ModelInferRequest(model_name=model, model_version=version, inputs=[tensor], raw_input_contents=[raw])


def _infer(channel: grpc.Channel, body: bytes, timeout: float = 20) -> ModelInferResponse:
    call = channel.unary_unary(
        INFER, request_serializer=lambda data: data, response_deserializer=ModelInferResponse.FromString
    )
    return call(body, timeout=timeout)


def _refused(channel: grpc.Channel, request: ModelInferRequest | bytes) -> tuple[str, str, str]:
    """Code, reason and all that is said."""
    body = request if isinstance(request, bytes) else request.SerializeToString()
    with pytest.raises(grpc.RpcError) as refused:
        _infer(channel, body)
    error = refused.value
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info, bad = ErrorInfo(), BadRequest()
    for detail in Status.FromString(details).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    said = " ".join([error.details() or "", *(f"{part.field} {part.description}" for part in bad.field_violations)])
    return error.code().name, info.reason, said


UNFIT = {
    "wrong datatype": (_request(datatype="FP64", raw=bytes(32)), ("x", "FP32", "FP64")),
    "wrong rank": (_request(shape=(4,)), ("x", "4")),
    "wrong dimension": (_request(shape=(1, 5), raw=bytes(20)), ("x", "4", "5")),
    "wrong name": (_request(name="z"), ("z", "x")),
    "unknown datatype": (_request(datatype="FP99"), ("FP99",)),
    "too few bytes": (_request(raw=bytes(12)), ("x", "16", "12")),
    "too many bytes": (_request(raw=bytes(20)), ("x", "16", "20")),
    "negative dimension": (_request(shape=(-1, 4)), ("x", "-1")),
    "enormous dimension": (_request(shape=(2**62, 4)), ("x",)),
    "product that overflows": (_request(shape=(2**63 - 1, 4), raw=b""), ("x",)),
    "no input": (ModelInferRequest(model_name=MODEL), ("x",)),
}


@pytest.mark.parametrize("case", UNFIT.values(), ids=UNFIT)
def test_an_input_that_does_not_fit_is_refused_naming_it(
    channel: grpc.Channel, strict: str, case: tuple[ModelInferRequest, tuple[str, ...]]
) -> None:
    request, words = case
    code, reason, said = _refused(channel, request)
    assert code == "INVALID_ARGUMENT", (code, reason, said)
    assert reason.isupper()
    assert all(word in said for word in words), said


def test_bytes_that_are_no_protobuf_are_refused(channel: grpc.Channel, strict: str) -> None:
    for body in (b"\xff" * 40, b"\x0a\x7fshort", bytes(range(256))):
        code, reason, _ = _refused(channel, body)
        assert (code, reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")


def test_an_unknown_model_is_not_found(channel: grpc.Channel, strict: str) -> None:
    code, reason, said = _refused(channel, _request(model="test/nowhere"))
    assert code == "NOT_FOUND", reason
    assert "test/nowhere" in said


def test_an_unknown_version_is_not_found_and_the_served_ones_are_named(channel: grpc.Channel, strict: str) -> None:
    code, reason, said = _refused(channel, _request(version="9.9.9"))
    assert code == "NOT_FOUND", reason
    assert "9.9.9" in said
    assert "1.0.0" in said


def test_an_ambiguous_package_is_refused_naming_its_deployments(
    channel: grpc.Channel, mesh: Mesh, tmp_path: Path
) -> None:
    mesh.publish(models.save(models.linear(), tmp_path), "test/twice")
    mesh.deploy("test/twice", "--name", "twice-a")
    mesh.deploy("test/twice", "--name", "twice-b")
    code, reason, said = _refused(channel, _request(model="test/twice"))
    assert (code, reason) == ("FAILED_PRECONDITION", "AMBIGUOUS_MODEL")
    assert "twice-a" in said
    assert "twice-b" in said
    assert _infer(channel, _request(model="twice-a").SerializeToString()).model_version == "1.0.0"


def test_a_message_over_the_limit_is_refused_and_the_next_is_served(channel: grpc.Channel, strict: str) -> None:
    rows = (65 << 20) // 16
    with pytest.raises(grpc.RpcError) as refused:
        _infer(channel, _request(shape=(rows, 4), raw=bytes(rows * 16)).SerializeToString())
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert _infer(channel, _request().SerializeToString()).model_version == "1.0.0"


def test_an_expired_deadline_is_said_so_and_the_next_is_served(channel: grpc.Channel, strict: str) -> None:
    rows = (40 << 20) // 16  # to send it takes longer than the deadline; a small call may be answered inside it
    with pytest.raises(grpc.RpcError) as refused:
        _infer(channel, _request(shape=(rows, 4), raw=bytes(rows * 16)).SerializeToString(), timeout=0.001)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert _infer(channel, _request().SerializeToString()).model_version == "1.0.0"


# ---- publishing


def _publish(mesh: Mesh, model: Path, name: str, version: str = "1.0.0") -> tuple[int, str]:
    """Exit code, and what is said on stderr."""
    done = mesh.cli(
        *("publish", str(model), "--name", name, "--version", version, "--license", "Apache-2.0"), check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def _external(folder: Path, location: str) -> Path:
    """A model whose one weight is said to lie at `location`."""
    model = models.linear()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    size = len(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        weight.external_data.add(key=key, value=value)
    return models.save(model, folder)


CORRUPT = {
    "no protobuf": b"this is no model" * 10,
    "empty": b"",
    "cut short": models.linear(64, 64).SerializeToString()[:4000],
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_onnx_is_refused(mesh: Mesh, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    code, said = _publish(mesh, tmp_path / "model.onnx", "test/corrupt")
    assert code == REFUSED, said
    assert mesh.cli("versions", "test/corrupt", check=False).returncode == NOT_FOUND


def test_a_graph_that_the_checker_refuses_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    model = models.make_model(
        [helper.make_node("Gemm", ["x", "nowhere"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 3])],
    )
    code, said = _publish(mesh, models.save(model, tmp_path), "test/unchecked")
    assert code == REFUSED, said


def test_an_operator_that_no_worker_has_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    model = models.make_model(
        [helper.make_node("Frobnicate", ["x"], ["y"], domain="example.unknown")],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
    )
    model.opset_import.add(domain="example.unknown", version=1)
    code, said = _publish(mesh, models.save(model, tmp_path), "test/operator")
    assert code == REFUSED, said
    assert "Frobnicate" in said


OUTSIDE = [
    "../secret.bin",
    "a/../../secret.bin",
    "/etc/hostname",
    "./../secret.bin",
    "..\\secret.bin",
    "a//../../secret.bin",
]


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_outside_the_package_is_refused(mesh: Mesh, tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(48))
    (tmp_path / "model" / "a").mkdir(parents=True)
    code, said = _publish(mesh, _external(tmp_path / "model", location), "test/outside")
    assert code == REFUSED, said


def test_external_data_through_a_symlink_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(48))
    model = _external(tmp_path / "model", "weights.bin")
    (model.parent / "weights.bin").symlink_to(tmp_path / "secret.bin")
    code, said = _publish(mesh, model, "test/symlink")
    assert code == REFUSED, said


def test_external_data_past_the_end_of_its_file_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    model = _external(tmp_path / "model", "weights.bin")
    (model.parent / "weights.bin").write_bytes(bytes(40))
    code, said = _publish(mesh, model, "test/short")
    assert code == REFUSED, said


def test_a_taken_version_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    mesh.publish(models.save(models.linear(seed=1), tmp_path / "a"), "test/taken")
    code, said = _publish(mesh, models.save(models.linear(seed=2), tmp_path / "b"), "test/taken")
    assert code == REFUSED, said
    assert "1.0.0" in said


NAMES = [
    "tiny",
    "Acme/tiny",
    "acme/ti ny",
    "acme/",
    "/tiny",
    "acme//tiny",
    "acme/" + "x" * 64,
    "a/b/c/d/e/f/g/h/i",
    "acme/tiny@1",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_invalid_name_is_refused(mesh: Mesh, tmp_path: Path, name: str) -> None:
    code, said = _publish(mesh, models.save(models.linear(), tmp_path), name)
    assert code == REFUSED, said


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "latest", ""])
def test_an_invalid_version_is_refused(mesh: Mesh, tmp_path: Path, version: str) -> None:
    code, said = _publish(mesh, models.save(models.linear(), tmp_path), "test/version", version)
    assert code in (2, REFUSED), said


def test_a_range_that_matches_nothing_is_not_found(mesh: Mesh, strict: str) -> None:
    for command in (("resolve", f"{strict}@^7.0"), ("deploy", f"{strict}@^7.0", "--name", "never")):
        done = mesh.cli(*command, check=False)
        assert done.returncode == NOT_FOUND, done.stderr
        assert "Traceback" not in done.stderr


def test_json_errors_are_json(mesh: Mesh) -> None:
    done = mesh.cli("versions", "test/nowhere", "--json", check=False)
    assert done.returncode == NOT_FOUND
    assert '"reason"' in done.stderr


# ---- what went through all this still works


def test_the_mesh_is_healthy_after_all_this(mesh: Mesh, channel: grpc.Channel, strict: str) -> None:
    assert mesh.healthy()
    answer = _infer(channel, _request(raw=np.ones(4, np.float32).tobytes()).SerializeToString())
    assert len(answer.raw_output_contents[0]) == 12
