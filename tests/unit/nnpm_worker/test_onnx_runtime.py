"""ONNX Runtime behind the Runtime protocol: by path, the same bits, the same refusals."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nnpm.errors import FailedPrecondition, Internal, InvalidArgument
from nnpm_worker.onnx_runtime import OnnxModel, OnnxRuntime
from nnpm_worker.plugins import Runtimes
from nnpm_worker.providers import CPU, usable_providers
from nnpm_worker.runtime import RuntimeOptions, Signature
from support import models
from support.reference import Reference, differences

NOTHING = Signature((), ())


def load(model: onnx.ModelProto, tmp_path: Path) -> OnnxModel:
    return OnnxRuntime(RuntimeOptions(0, "cpu")).load(models.save(model, tmp_path), NOTHING)


def test_answers_have_the_bits_of_a_plain_session(tmp_path: Path) -> None:
    model = models.linear(64, 64)
    x = np.random.default_rng(0).standard_normal((5, 64), dtype=np.float32)
    found = load(model, tmp_path).run({"x": x}, ())
    assert not differences(Reference(model.SerializeToString()).run({"x": x}), dict(found))


@pytest.mark.parametrize("shape", [(), (0, 2), (3,)])
def test_bfloat16_goes_in_and_comes_out(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = models.identity(TensorProto.BFLOAT16, [f"d{axis}" for axis in range(len(shape))])
    x = np.full(shape, 1.5, ml_dtypes.bfloat16)
    y = load(model, tmp_path).run({"x": x}, ())["y"]
    assert y.dtype == x.dtype
    assert y.shape == shape
    assert np.array_equal(y, x)


def test_bfloat16_beside_other_datatypes(tmp_path: Path) -> None:
    model = models.make_model(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
        [("x", TensorProto.FLOAT, ["n"])],
        [("y", TensorProto.BFLOAT16, ["n"])],
    )
    x = np.array([1.0, 2.5], np.float32)
    assert load(model, tmp_path).run({"x": x}, ())["y"].tolist() == [1.0, 2.5]


def test_only_the_outputs_that_are_asked_for_come_in_their_order(tmp_path: Path) -> None:
    model = models.make_model(
        [helper.make_node("TopK", ["x", "k"], ["values", "indices"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("values", TensorProto.FLOAT, ["n", 1]), ("indices", TensorProto.INT64, ["n", 1])],
        {"k": np.array([1])},
    )
    loaded, x = load(model, tmp_path), {"x": np.eye(4, dtype=np.float32)}
    assert list(loaded.run(x, ())) == ["values", "indices"]
    assert list(loaded.run(x, ("indices", "values"))) == ["indices", "values"]
    assert list(loaded.run(x, ("indices",))) == ["indices"]
    with pytest.raises(InvalidArgument) as error:
        loaded.run(x, ("nothing",))
    assert error.value.reason == "UNKNOWN_OUTPUT"


def test_external_data_is_found_beside_the_model(tmp_path: Path) -> None:
    path = models.external(tmp_path, layers=2, layer_bytes=1 << 20)
    loaded = OnnxRuntime(RuntimeOptions(0, "cpu")).load(path, NOTHING)
    width = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.ones((1, width), np.float32)
    assert not differences(Reference(path).run({"x": x}), dict(loaded.run({"x": x}, ())))


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "link.bin"])
def test_external_data_outside_the_package_is_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    path = models.save(models.linear(4, 4), folder)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = onnx.load(path)
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "64")):
        weights.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FailedPrecondition) as error:
        OnnxRuntime(RuntimeOptions(0, "cpu")).load(path, NOTHING)
    assert error.value.reason == "MODEL_LOAD_FAILED"
    assert str(tmp_path / "package") + "/" not in error.value.message


@pytest.mark.parametrize("content", [b"", b"no model" * 100, models.linear().SerializeToString()[:-20]])
def test_a_broken_model_is_refused_with_what_onnx_runtime_says(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(FailedPrecondition) as error:
        OnnxRuntime(RuntimeOptions(0, "cpu")).load(path, NOTHING)
    assert error.value.reason == "MODEL_LOAD_FAILED"


def test_text_is_utf8(tmp_path: Path) -> None:
    loaded = load(models.identity(TensorProto.STRING, ("n",)), tmp_path)
    assert loaded.run({"x": np.array([b"a\x00b", "ö".encode()], object)}, ())["y"].tolist() == ["a\x00b", "ö"]
    with pytest.raises(InvalidArgument) as error:
        loaded.run({"x": np.array([b"\xff"], object)}, ())
    assert error.value.reason == "INVALID_CONTENTS"


def test_a_closed_model_runs_no_more(tmp_path: Path) -> None:
    loaded = load(models.linear(), tmp_path)
    loaded.close()
    with pytest.raises(Internal):
        loaded.run({"x": np.ones((1, 4), np.float32)}, ())


@pytest.mark.parametrize("wanted", ["auto", "cpu", "cuda,cpu", "NoSuchExecutionProvider", ""])
def test_there_is_always_the_cpu_and_a_missing_provider_is_no_crash(wanted: str) -> None:
    assert usable_providers(wanted)[-1] == CPU


def test_runtimes_are_found_by_entry_point() -> None:
    runtimes = Runtimes(RuntimeOptions(0, "cpu"))
    assert "onnx" in runtimes.usable
    assert runtimes.get("onnx") is runtimes.get("onnx")
    assert isinstance(runtimes.get("onnx"), OnnxRuntime)
    with pytest.raises(FailedPrecondition) as error:
        runtimes.get("tensorflow")
    assert error.value.reason == "RUNTIME_UNKNOWN"


@pytest.mark.parametrize("offset", [0, 1, 4, 8, 12, 28, 36, 60])
def test_the_bits_of_an_answer_do_not_hang_on_where_in_a_request_the_tensor_lay(offset: int, tmp_path: Path) -> None:
    nodes = [helper.make_node("InstanceNormalization", ["x", "s", "b"], ["y"], epsilon=1e-2)]
    shape = ["n", 3, 4, 5]
    ends = [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)]
    weights = {"s": np.ones(3, np.float32), "b": np.zeros(3, np.float32)}
    model = models.make_model(nodes, *ends, weights)
    x = np.random.default_rng(7).standard_normal((2, 3, 4, 5), dtype=np.float32)
    body = bytes(64 + offset) + x.tobytes()
    inside = np.frombuffer(body, np.float32, x.size, offset=64 + offset).reshape(x.shape)
    found = load(model, tmp_path).run({"x": inside}, ())
    assert not differences(Reference(model.SerializeToString()).run({"x": x}), dict(found))
