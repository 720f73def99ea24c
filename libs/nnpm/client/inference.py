"""Calling models: numpy in, numpy out, over the Open Inference Protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

from nnpm.api.inference import inference_pb2
from nnpm.client import from_messages
from nnpm.client.connection import Connection
from nnpm.client.records import Inference, ModelInfo, ModelStatistics
from nnpm.errors import InvalidArgument
from nnpm.tensors import messages, raw
from nnpm.tensors.datatypes import BYTES, DATATYPES, by_name, of_array

TIMEOUT = 60.0

_TRACER = trace.get_tracer("nnpm.client")


class Inferrer:
    """The data side of the scheduler. Remembers the signatures that it had to ask for."""

    def __init__(self, connection: Connection) -> None:
        self._stub = connection.inference
        self._known: dict[tuple[str, str], Mapping[str, str]] = {}

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        request_id: str = "",
        timeout: float = TIMEOUT,
    ) -> Inference:
        """One call.

        Args:
            model: a deployment, a package or `package@range`.
            inputs: name -> numpy array, sent as it is; or numbers, strings and nested lists, made into an array of the
                datatype that the model declares (which takes one more call, once a model).
            version: an exact version, or empty for the one that serves.
            outputs: those wanted; empty = all.
            request_id: comes back in the answer.
            timeout: the call's deadline in seconds.

        Raises:
            InvalidArgument: names the tensor, what was wanted and what came.
            NotFound, FailedPrecondition, Unavailable, DeadlineExceeded: as the mesh answers.
        """
        request = inference_pb2.ModelInferRequest(model_name=model, model_version=version, id=request_id)
        for name, value in inputs.items():
            array = value if isinstance(value, np.ndarray) else await self._array(model, version, name, value, timeout)
            request.inputs.add(name=name, datatype=of_array(array).name, shape=array.shape)
            request.raw_input_contents.append(bytes(raw.encode(array)))
        for name in outputs:
            request.outputs.add(name=name)
        with _TRACER.start_as_current_span(
            "infer", kind=trace.SpanKind.CLIENT, attributes={"nnpm.model": model}
        ) as span:
            answer = await self._stub.ModelInfer(request, timeout=timeout)
            span.set_attribute("nnpm.version", answer.model_version)
        found = messages.arrays(answer.outputs, answer.raw_output_contents)
        return Inference(answer.model_name, answer.model_version, answer.id, found)

    async def info(self, model: str, version: str = "", timeout: float = TIMEOUT) -> ModelInfo:
        """Which versions serve, and what the model takes and gives."""
        request = inference_pb2.ModelMetadataRequest(name=model, version=version)
        return from_messages.model_info(await self._stub.ModelMetadata(request, timeout=timeout))

    async def ready(self, model: str = "", version: str = "", timeout: float = TIMEOUT) -> bool:
        """Whether the model, or without a name the mesh, takes calls."""
        if not model:
            return (await self._stub.ServerReady(inference_pb2.ServerReadyRequest(), timeout=timeout)).ready
        request = inference_pb2.ModelReadyRequest(name=model, version=version)
        return (await self._stub.ModelReady(request, timeout=timeout)).ready

    async def statistics(self, model: str = "", timeout: float = TIMEOUT) -> tuple[ModelStatistics, ...]:
        """Counts and mean times of one model, or of all."""
        request = inference_pb2.ModelStatisticsRequest(name=model)
        answer = await self._stub.ModelStatistics(request, timeout=timeout)
        return tuple(map(from_messages.statistics, answer.model_stats))

    async def datatypes(self, model: str, version: str, timeout: float) -> Mapping[str, str]:
        """Input name -> datatype that the model declares."""
        key = (model, version)
        if key not in self._known:
            info = await self.info(model, version, timeout)
            self._known[key] = {spec.name: spec.datatype for spec in info.inputs}
        return self._known[key]

    async def _array(self, model: str, version: str, name: str, value: Any, timeout: float) -> NDArray[Any]:
        declared = await self.datatypes(model, version, timeout)
        if name not in declared:
            raise InvalidArgument(
                "INVALID_TENSOR",
                f"{model} has no input {name!r}",
                hint=f"its inputs are {', '.join(declared)}",
                metadata={"tensor": name},
            )
        return to_array(name, value, declared[name])


def to_array(name: str, value: Any, datatype: str) -> NDArray[Any]:
    """Numbers, texts and nested lists as an array of an OIP datatype. Raises InvalidArgument INVALID_TENSOR."""
    kind = by_name(datatype)
    try:
        if kind is BYTES:
            return np.array(value, dtype=np.object_)
        if kind.dtype.kind in "iu":
            return _integers(value, kind.dtype)
        if kind.name == "BF16":  # which reads no texts, such as NaN
            return np.asarray(value, dtype=np.float32).astype(kind.dtype)
        return np.asarray(value, dtype=kind.dtype)
    except (ValueError, TypeError, OverflowError) as fault:
        raise InvalidArgument(
            "INVALID_TENSOR", f"input {name!r} is no {datatype} tensor: {fault}", metadata={"tensor": name}
        ) from fault


def restored(array: NDArray[Any], datatype: str) -> NDArray[Any]:
    """An array as it came out of a .npy file, whose format loses BF16: it says `V2`, two bytes of anything."""
    if datatype == "BF16" and array.dtype.kind == "V" and array.dtype.itemsize == 2:
        return array.view(DATATYPES["BF16"].dtype)
    return array


def _integers(value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numpy would cut 1.5 to 1 without a word."""
    plain = np.asarray(value)
    if plain.dtype.kind not in "iub":  # nothing at all, or numbers on both sides of 2**63, which numpy makes floats of
        plain = np.asarray(value, dtype=np.object_)
        if not all(isinstance(one, int) for one in plain.flat):
            raise ValueError("it is not made of integers")
    array = plain.astype(dtype)
    if not np.array_equal(array, plain):
        raise OverflowError(f"a number does not fit {dtype}")
    return array
