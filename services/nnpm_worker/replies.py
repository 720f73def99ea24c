"""A model's outputs as the ModelInferResponse that the client gets, byte for byte."""

from nnpm.api.inference.inference_pb2 import ModelInferResponse
from nnpm.errors import ResourceExhausted
from nnpm.tensors import raw
from nnpm.tensors.datatypes import of_array
from nnpm_worker.requests import Call
from nnpm_worker.runtime import Tensors

_ENVELOPE_ROOM = 16 * 1024
"""What a Deliver message adds around one reply, with a margin, bytes."""


class ReplyWriter:
    """Writes the replies of one model version. (Writing the wire by hand took as long: 3.5 us for a small reply.)

    Args:
        version: the exact version that answers.
        most_bytes: limit of a message, both for the client and for Deliver.
    """

    def __init__(self, version: str, most_bytes: int) -> None:
        self._version = version
        self._most_bytes = most_bytes - _ENVELOPE_ROOM

    def write(self, call: Call, outputs: Tensors) -> bytes:
        """The serialised ModelInferResponse.

        Raises:
            ResourceExhausted: REPLY_TOO_LARGE.
            InvalidArgument: UNKNOWN_DATATYPE, when the runtime gave what the protocol cannot carry.
        """
        response = ModelInferResponse(model_name=call.model_name, model_version=self._version, id=call.id)
        size = 0
        for name, array in outputs.items():
            content = bytes(raw.encode(array))
            size += len(content)
            if size > self._most_bytes:
                raise self._too_large(outputs)
            response.outputs.add(name=name, datatype=of_array(array).name, shape=array.shape)
            response.raw_output_contents.append(content)
        return response.SerializeToString()

    def _too_large(self, outputs: Tensors) -> ResourceExhausted:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
        return ResourceExhausted(
            "REPLY_TOO_LARGE",
            f"the outputs ({shapes}) are larger than the {self._most_bytes} bytes that a reply may have",
            hint="ask for fewer outputs or rows, or raise NNPM_MAX_MESSAGE_BYTES everywhere",
        )
