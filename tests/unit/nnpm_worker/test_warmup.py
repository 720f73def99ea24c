from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from nnpm.errors import FailedPrecondition, InvalidArgument
from nnpm.package.digest import digest_of
from nnpm.package.manifest import Manifest
from nnpm_worker.runtime import Signature, Tensors, TensorSpec
from nnpm_worker.warmup import package_samples, warm_up

SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, 4)), TensorSpec("words", "BYTES", (-1,)), TensorSpec("half", "BF16", (2,))), ()
)


def manifest(*warmup: dict[str, object]) -> Manifest:
    files = [{"path": path, "size": 0, "digest": digest_of(b"")} for path in ("model.onnx", "sample.npz")]
    return Manifest.build(
        {
            "format": 1,
            "name": "acme/tiny",
            "version": "1.0.0",
            "license": "MIT",
            "model": "model.onnx",
            "files": files,
            "warmup": list(warmup),
        }
    )


class Model:
    """Notes what it is run with."""

    providers = ("CPU",)

    def __init__(self, *, refuses: bool = False) -> None:
        self.runs: list[Tensors] = []
        self._refuses = refuses

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        self.runs.append(inputs)
        if self._refuses:
            raise InvalidArgument("RUNTIME_REFUSED", "not that")
        return {}

    def close(self) -> None:
        """Nothing to close."""


def test_without_samples_zeros_of_the_signature_are_run() -> None:
    model = Model()
    warm_up(model, SIGNATURE, ())
    (inputs,) = model.runs
    assert {name: (array.dtype.name, array.shape) for name, array in inputs.items()} == {
        "x": ("float32", (1, 4)),
        "words": ("object", (1,)),
        "half": ("bfloat16", (2,)),
    }
    assert inputs["words"].tolist() == [b""]


def test_zeros_are_a_guess_that_a_model_may_refuse() -> None:
    model = Model(refuses=True)
    warm_up(model, SIGNATURE, ())
    assert len(model.runs) == 1


def test_enormous_zeros_are_not_made() -> None:
    model = Model()
    warm_up(model, Signature((TensorSpec("x", "FP32", (1 << 20, 1 << 20)),), ()), ())
    assert not model.runs


def test_a_sample_that_the_model_refuses_fails_the_load() -> None:
    with pytest.raises(FailedPrecondition) as error:
        warm_up(Model(refuses=True), SIGNATURE, [{}])
    assert error.value.reason == "MODEL_LOAD_FAILED"
    assert "not that" in error.value.message


def test_shapes_become_zeros(tmp_path: Path) -> None:
    (sample,) = package_samples(manifest({"shapes": {"x": [3, 4], "words": [2]}}), tmp_path, SIGNATURE)
    assert {name: array.shape for name, array in sample.items()} == {"x": (3, 4), "words": (2,), "half": (2,)}


def test_files_come_in_the_inputs_datatypes(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "sample.npz",
        x=np.ones((1, 4), np.float32),
        words=np.array(["größer"]),
        half=np.ones(2, ml_dtypes.bfloat16),
    )
    (sample,) = package_samples(manifest({"file": "sample.npz"}), tmp_path, SIGNATURE)
    assert sample["words"].tolist() == ["größer".encode()]
    assert sample["half"].dtype == ml_dtypes.bfloat16
    assert sample["half"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_broken_sample_fails_the_load(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sample.npz").write_bytes(content)
    with pytest.raises(FailedPrecondition) as error:
        package_samples(manifest({"file": "sample.npz"}), tmp_path, SIGNATURE)
    assert error.value.reason == "MODEL_LOAD_FAILED"


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample.npz", x=np.array([{"a": 1}], object))
    with pytest.raises(FailedPrecondition):
        package_samples(manifest({"file": "sample.npz"}), tmp_path, SIGNATURE)
