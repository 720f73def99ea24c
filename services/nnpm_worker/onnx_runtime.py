"""The built-in runtime `onnx`: ONNX Runtime, from a path, with its default options.

The options are the defaults because an answer shall equal, bit for bit, what the caller gets from ONNX Runtime in its
own process: graph optimisations, packing of weights and the number of threads all show in the last bits.
"""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states

from nnpm.errors import FailedPrecondition, Internal, InvalidArgument, NnpmError, ResourceExhausted
from nnpm_worker.buffers import aligned_room, is_aligned
from nnpm_worker.mapped_pages import released_while_loading
from nnpm_worker.onnx_operators import cost_is_by_shape
from nnpm_worker.providers import usable_providers
from nnpm_worker.runtime import RuntimeOptions, Signature, Tensors

_BF16_TYPE = "tensor(bfloat16)"
_BF16_ELEMENT = 16  # onnx.TensorProto.BFLOAT16
_SILENT = 4  # severity: a refusal goes to the caller, not to this process's log

# What ONNX Runtime raises when a node does not like its input; what else it raises is not the input's fault.
_REFUSALS = (states.InvalidArgument, states.Fail, states.RuntimeException)
_FAILURES = (states.EPFail, states.InvalidGraph, states.NotImplemented, states.NoModel, states.EngineError)


class OnnxRuntime:
    """See `nnpm_worker.runtime.Runtime`."""

    pure = True

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options
        self.providers = usable_providers(options.providers)

    def load(self, path: Path, signature: Signature) -> "OnnxModel":
        """Load by path, so that external data is mapped and not copied."""
        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = self._options.threads
        # Several workers share a machine: a thread that spins after its run takes a core from the others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            with released_while_loading(path.parent):
                session = ort.InferenceSession(str(path), options, providers=list(self.providers))
        except Exception as error:
            # ONNX Runtime's exceptions have no base class but Exception.
            raise FailedPrecondition(
                "MODEL_LOAD_FAILED", f"ONNX Runtime cannot load the model: {_text(error, path.parent)}"
            ) from error
        return OnnxModel(session, steady=cost_is_by_shape(path))


class OnnxModel:
    """See `nnpm_worker.runtime.Model`."""

    def __init__(self, session: ort.InferenceSession, *, steady: bool) -> None:
        self._session: ort.InferenceSession | None = session
        self._outputs = tuple(node.name for node in session.get_outputs())
        types = {node.type for node in (*session.get_inputs(), *session.get_outputs())}
        # numpy has no bfloat16 that ONNX Runtime knows, so it goes by OrtValue, which knows the element's number.
        self._by_value = _BF16_TYPE in types
        self._run_options = ort.RunOptions()
        self._run_options.log_severity_level = _SILENT
        self.providers = tuple(session.get_providers())
        self.steady = steady

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """See `nnpm_worker.runtime.Model.run`."""
        names = list(outputs or self._outputs)
        unknown = [name for name in names if name not in self._outputs]
        if unknown:
            raise InvalidArgument(
                "UNKNOWN_OUTPUT", f"the model has no output {unknown[0]!r}", hint=f"it has {', '.join(self._outputs)}"
            )
        feeds = {name: _fed(name, array) for name, array in inputs.items()}
        run = self._run_values if self._by_value else self._run_arrays
        return dict(zip(names, _guarded(run, names, feeds), strict=True))

    def close(self) -> None:
        """Drop the session, and with it the memory and the mapped files."""
        self._session = None

    @property
    def _open_session(self) -> ort.InferenceSession:
        if self._session is None:
            raise Internal("RUNTIME_FAILED", "the model is closed")
        return self._session

    def _run_arrays(self, names: list[str], feeds: Tensors) -> Sequence[NDArray[Any]]:
        found: Sequence[NDArray[Any]] = self._open_session.run(names, dict(feeds), self._run_options)
        return found

    def _run_values(self, names: list[str], feeds: Tensors) -> Sequence[NDArray[Any]]:
        values = {name: _value(array) for name, array in feeds.items()}
        return [_array(value) for value in self._open_session.run_with_ort_values(names, values, self._run_options)]


def _guarded(
    run: Callable[[list[str], Tensors], Sequence[NDArray[Any]]], names: list[str], feeds: Mapping[str, NDArray[Any]]
) -> Sequence[NDArray[Any]]:
    """Run, with ONNX Runtime's exceptions as ours: its own message, no traceback."""
    try:
        return run(names, feeds)
    except NnpmError:
        raise
    except MemoryError as error:
        raise ResourceExhausted("OUT_OF_MEMORY", "memory does not suffice for this request") from error
    except (*_REFUSALS, ValueError, TypeError) as error:
        text = _text(error)
        if "Failed to allocate memory" in text or "bad_alloc" in text:
            raise ResourceExhausted("OUT_OF_MEMORY", f"memory does not suffice for this request: {text}") from error
        raise InvalidArgument("RUNTIME_REFUSED", f"ONNX Runtime refuses the request: {text}") from error
    except (*_FAILURES, RuntimeError) as error:
        raise Internal("RUNTIME_FAILED", f"ONNX Runtime failed: {_text(error)}") from error


def _text(error: BaseException, folder: Path | None = None) -> str:
    """ONNX Runtime's message in one line, without this host's paths."""
    text = " ".join(str(error).split())
    return text.replace(f"{folder}/", "") if folder else text


def _fed(name: str, array: NDArray[Any]) -> NDArray[Any]:
    return _text_array(name, array) if array.dtype == object else _aligned(array)


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers where a process's own arrays begin.

    A tensor lies anywhere within a request's bytes, and at an odd address vectorised sums (InstanceNormalization,
    ReduceMean...) add up in another order: the last bits would differ from those of the caller's own process, and from
    one call to the next.
    """
    if is_aligned(array):
        return array
    aligned: NDArray[Any] = aligned_room(array.nbytes).view(array.dtype).reshape(array.shape)
    aligned[...] = array
    return aligned


def _text_array(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """ONNX strings are UTF-8, and str in Python."""
    texts: NDArray[Any] = np.empty(array.size, np.object_)
    try:
        texts[:] = [element.decode() for element in array.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            "INVALID_CONTENTS", f"tensor {name!r}: an element is not UTF-8, and ONNX strings are ({error.reason})"
        ) from error
    return texts.reshape(array.shape)


def _value(array: NDArray[Any]) -> ort.OrtValue:
    if array.dtype == ml_dtypes.bfloat16:
        # (`ascontiguousarray` would make a vector of a scalar.)
        bits = np.asarray(array, order="C").view(np.uint16)
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BF16_ELEMENT)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(value: ort.OrtValue) -> NDArray[Any]:
    if value.data_type() != _BF16_TYPE:
        found: NDArray[Any] = value.numpy()
        return found
    shape = tuple(value.shape())
    content = ctypes.string_at(value.data_ptr(), 2 * math.prod(shape)) if math.prod(shape) else b""
    return np.frombuffer(content, ml_dtypes.bfloat16).reshape(shape)
