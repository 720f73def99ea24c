"""The answer of ONNX Runtime in this very process: what the mesh's answers are held against."""

import ctypes
import math
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnxruntime as ort

BFLOAT16 = 16
"""ONNX's number for it."""


class Reference:
    """A session with ONNX Runtime's default options, kept quiet. Raises what ONNX Runtime raises."""

    def __init__(self, model: Path | bytes) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @property
    def outputs(self) -> list[str]:
        return [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name. Strings come as object arrays of bytes."""
        if any(value.dtype == object for value in inputs.values()):
            feed = {name: _as_text(value) for name, value in inputs.items()}
            answers = self._session.run(None, feed)
        else:
            # through OrtValue, which alone carries BF16
            feed = {name: _ort_value(value) for name, value in inputs.items()}
            answers = [_array(value) for value in self._session.run_with_ort_values(None, feed)]
        return {name: as_bytes(np.asarray(value)) for name, value in zip(self.outputs, answers, strict=True)}


def differences(wanted: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> list[str]:
    """One line for each way in which `got` is not `wanted`, bit for bit: names, dtypes, shapes, elements."""
    lines = [f"{name}: missing" for name in wanted.keys() - got.keys()]
    lines += [f"{name}: not wanted" for name in got.keys() - wanted.keys()]
    for name in sorted(wanted.keys() & got.keys()):
        left, right = wanted[name], got[name]
        if left.dtype != right.dtype or left.shape != right.shape:
            lines.append(f"{name}: {left.dtype}{list(left.shape)} wanted, {right.dtype}{list(right.shape)} came")
        elif not _same_bits(left, right):
            lines.append(f"{name}: other elements: {left.ravel()[:4]} wanted, {right.ravel()[:4]} came")
    return lines


def _same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    if left.dtype == object:
        return left.tolist() == right.tolist()
    return left.tobytes() == right.tobytes()


def _ort_value(array: np.ndarray) -> ort.OrtValue:
    if array.dtype.name == "bfloat16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.asarray(array, order="C"), BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"))


def _array(value: ort.OrtValue) -> np.ndarray:
    if value.element_type() != BFLOAT16:
        return value.numpy()
    # OrtValue.numpy() knows no bfloat16, so its memory is read
    shape = value.shape()
    data = ctypes.string_at(value.data_ptr(), 2 * math.prod(shape)) if math.prod(shape) else b""
    return np.frombuffer(data, dtype=ml_dtypes.bfloat16).reshape(shape)


def _as_text(array: np.ndarray) -> np.ndarray:
    if array.dtype != object:
        return array
    flat = [element.decode() if isinstance(element, bytes) else element for element in array.ravel()]
    return np.array(flat, dtype=object).reshape(array.shape)


def as_bytes(array: np.ndarray) -> np.ndarray:
    """Strings as object arrays of bytes, which is how they travel; anything else as it is."""
    if array.dtype != object and array.dtype.kind not in "US":
        return array
    flat = [element.encode() if isinstance(element, str) else element for element in array.ravel()]
    return np.array(flat, dtype=object).reshape(array.shape)
