"""One inference request as the worker sees it: decoded tensors, and what the reply has to repeat.

A body whose layout the scheduler has found is sliced without parsing any protobuf; any other is parsed in full.
"""

from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from nnpm.api.inference.inference_pb2 import ModelInferRequest
from nnpm.errors import InvalidArgument
from nnpm.queue.entry import Layout, Request
from nnpm.tensors import raw
from nnpm.tensors.datatypes import by_name
from nnpm.tensors.messages import arrays, named
from nnpm_worker.runtime import Tensors


@dataclass(frozen=True, slots=True)
class Call:
    """The content of a request: inputs by name, names of the outputs wanted (none: all), model name and id as asked."""

    inputs: Tensors
    outputs: tuple[str, ...]
    model_name: str
    id: str


@dataclass(slots=True, eq=False)
class Job:
    """A request in this worker's hands.

    Attributes:
        request: as the entry has it.
        admitted_ns: when its scheduler admitted it, on this process's monotonic clock.
        deadline_ns: on this process's monotonic clock.
        received_ns: on this process's monotonic clock.
        cancelled: nobody waits for it any more.
        body: the client's ModelInferRequest; None until a claim is redeemed.
    """

    request: Request
    admitted_ns: int
    deadline_ns: int
    received_ns: int
    cancelled: bool = False
    body: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.body = self.request.body


def decode_call(body: bytes, layout: Layout | None) -> Call:
    """Raises InvalidArgument: MALFORMED_REQUEST, or what is wrong with which tensor."""
    return _parse(body) if layout is None else _slice(body, layout)


def _slice(body: bytes, layout: Layout) -> Call:
    view = memoryview(body)
    inputs = {}
    for span in layout.inputs:
        content = view[span.offset : span.offset + span.length]
        try:
            inputs[span.name] = raw.decode(by_name(span.datatype), span.shape, content)
        except InvalidArgument as error:
            raise named(error, span.name) from error
    return Call(inputs, layout.outputs, layout.model_name, layout.id)


def _parse(body: bytes) -> Call:
    try:
        request = ModelInferRequest.FromString(body)
    except DecodeError as error:
        raise InvalidArgument("MALFORMED_REQUEST", "the request is no ModelInferRequest") from error
    return Call(
        arrays(request.inputs, request.raw_input_contents),
        tuple(output.name for output in request.outputs),
        request.model_name,
        request.id,
    )
