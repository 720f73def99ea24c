"""A model's outputs as what a reply needs: its head, written once for all replies that look alike, and raw contents."""

from collections.abc import Sequence
from dataclasses import dataclass

from nnpm.api.inference.inference_pb2 import ModelInferResponse
from nnpm.errors import ResourceExhausted
from nnpm.tensors import raw
from nnpm.tensors.datatypes import BYTES, of_array
from nnpm_worker.runtime import Tensors

_ENVELOPE_ROOM = 16 * 1024
"""What a Deliver message adds around one reply, with a margin, bytes."""

_MOST_HEADS = 1_024

Raw = Sequence[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Written:
    """`count` replies: see `Reply` in worker.proto."""

    count: int
    head: bytes
    raw: Raw


class ReplyWriter:
    """Writes the replies of one model version.

    Args:
        version: the exact version that answers.
        most_bytes: limit of a message, both for the client and for Deliver.
    """

    def __init__(self, version: str, most_bytes: int) -> None:
        self._version = version
        self._most_bytes = most_bytes - _ENVELOPE_ROOM
        self._heads: dict[object, bytes] = {}

    def write(self, model_name: str, outputs: Tensors) -> Written:
        """The reply of one request, whose outputs these are.

        Raises:
            ResourceExhausted: REPLY_TOO_LARGE.
            InvalidArgument: UNKNOWN_DATATYPE, when the runtime gave what the protocol cannot carry.
        """
        contents = [raw.encode(array) for array in outputs.values()]
        if sum(map(len, contents)) > self._most_bytes:
            raise self._too_large(outputs)
        return Written(
            1, self._head(model_name, outputs, {name: array.shape for name, array in outputs.items()}), contents
        )

    def write_all(self, model_name: str, outputs: Tensors, count: int) -> list[Written]:
        """The replies of `count` requests, whose outputs lie one behind the other along axis 0; raises as `write`."""
        rows = {name: array.shape[0] // count for name, array in outputs.items()}
        if any(of_array(array) is BYTES for array in outputs.values()):
            return [
                self.write(
                    model_name, {name: array[n * rows[name] : (n + 1) * rows[name]] for name, array in outputs.items()}
                )
                for n in range(count)
            ]
        contents = [raw.encode(array) for array in outputs.values()]
        if sum(map(len, contents)) > self._most_bytes * count:
            raise self._too_large(outputs)
        shapes = {name: (rows[name], *array.shape[1:]) for name, array in outputs.items()}
        return [Written(count, self._head(model_name, outputs, shapes), contents)]

    def _head(self, model_name: str, outputs: Tensors, shapes: dict[str, tuple[int, ...]]) -> bytes:
        key = (model_name, tuple([(name, shape, outputs[name].dtype) for name, shape in shapes.items()]))
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            response = ModelInferResponse(model_name=model_name, model_version=self._version)
            for name, shape in shapes.items():
                response.outputs.add(name=name, datatype=of_array(outputs[name]).name, shape=shape)
            head = self._heads[key] = response.SerializeToString()
        return head

    def _too_large(self, outputs: Tensors) -> ResourceExhausted:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
        return ResourceExhausted(
            "REPLY_TOO_LARGE",
            f"the outputs ({shapes}) are larger than the {self._most_bytes} bytes that a reply may have",
            hint="ask for fewer outputs or rows, or raise NNPM_MAX_MESSAGE_BYTES everywhere",
        )
