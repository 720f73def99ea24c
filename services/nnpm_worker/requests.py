"""A block of inference requests as the worker sees it: decoded tensors, and what the replies have to repeat.

A block whose layout the scheduler has found is sliced without parsing any protobuf; any other is one request, parsed in
full.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from nnpm.api.inference.inference_pb2 import ModelInferRequest
from nnpm.errors import InvalidArgument, NnpmError
from nnpm.queue.entry import Block, InputSpec, Layout
from nnpm.tensors import raw
from nnpm.tensors.datatypes import by_name, of_array
from nnpm.tensors.messages import arrays, named
from nnpm.tensors.shapes import element_count


@dataclass(slots=True, eq=False)
class Job:
    """A block in this worker's hands.

    Attributes:
        block: as the entry has it.
        admitted_ns: when its scheduler admitted it, on this process's monotonic clock.
        deadline_ns: on this process's monotonic clock.
        received_ns: on this process's monotonic clock.
        cancelled: offsets of the requests that nobody waits for any more.
        raw: bytes of all requests, one for each input; None without a layout, and until a claim is redeemed.
        body: the one request's ModelInferRequest; None with a layout, and until a claim is redeemed.
    """

    block: Block
    admitted_ns: int
    deadline_ns: int
    received_ns: int
    cancelled: set[int] = field(default_factory=set)
    raw: Sequence[bytes] | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.cancelled.update(self.block.ended)
        if not self.block.claim_size:
            self._fill(self.block.raw, self.block.body)

    @property
    def rows(self) -> int:
        """Of all its requests: the first input's axis 0, where there is a layout with one."""
        layout = self.block.layout
        shape = layout.inputs[0].shape if layout is not None and layout.inputs else ()
        return self.block.count * max(1, shape[0] if shape else 1)

    @property
    def complete(self) -> bool:
        """Whether its bytes are here."""
        return self.raw is not None or self.body is not None

    def redeemed(self, data: bytes) -> None:
        """Its bytes have come. Raises InvalidArgument when they are not as many as its layout says."""
        layout = self.block.layout
        self._fill(() if layout is None else _cut(layout, data), data)

    def drop(self) -> None:
        """It is answered; its megabytes need not stay."""
        self.raw = self.body = None

    def live(self) -> Iterator[tuple[int, int]]:
        """Offset and count of the runs of requests that are wanted."""
        first = 0
        for offset in sorted(self.cancelled):
            if offset > first:
                yield first, offset - first
            first = offset + 1
        if first < self.block.count:
            yield first, self.block.count - first

    def _fill(self, raws: Sequence[bytes], body: bytes) -> None:
        if self.block.layout is None:
            self.body = body
        else:
            self.raw = raws


Kind = tuple[object, ...]
"""What requests that run together agree in: wanted outputs, names, datatypes and inner axes of the inputs."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """`count` requests of a job that follow one another, from `offset` on.

    `inputs` hold all of them: axis 0 is the request, the others are the tensor's own. `outputs` are the names of those
    wanted (none: all). `rows` is the size of the tensors' axis 0 that all inputs of a request share, 0 when there is
    none.
    """

    job: Job
    offset: int
    count: int
    inputs: Mapping[str, NDArray[Any]]
    outputs: tuple[str, ...]
    model_name: str
    rows: int
    kind: Kind

    def cut(self, first: int, count: int) -> "Piece":
        """`count` of its requests, from the `first` on."""
        inputs = {name: array[first : first + count] for name, array in self.inputs.items()}
        return replace(self, offset=self.offset + first, count=count, inputs=inputs)

    def singles(self) -> Iterator["Piece"]:
        """Each of its requests on its own."""
        return (self.cut(index, 1) for index in range(self.count))


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one request of a job."""

    offset: int
    error: NnpmError


def decode(job: Job) -> tuple[list[Piece], list[Fault]]:
    """The requests of a job that are wanted, and those of them that cannot be run.

    A fault is MALFORMED_REQUEST, or says what is wrong with which tensor.
    """
    try:
        whole = _parsed(job) if job.raw is None else _sliced(job, job.raw, job.block.count)
    except NnpmError as error:
        return _decode_each(job, error)
    if not job.cancelled:
        return [whole], []
    return [whole.cut(first, count) for first, count in job.live()], []


def _decode_each(job: Job, error: NnpmError) -> tuple[list[Piece], list[Fault]]:
    """One of the requests is at fault: its neighbours are not."""
    offsets = [offset for first, count in job.live() for offset in range(first, first + count)]
    if job.raw is None or job.block.count == 1:
        return [], [Fault(offset, error) for offset in offsets]
    pieces, faults = [], []
    strides = [len(data) // job.block.count for data in job.raw]
    for offset in offsets:
        raws = [data[offset * n : (offset + 1) * n] for data, n in zip(job.raw, strides, strict=True)]
        try:
            pieces.append(replace(_sliced(job, raws, 1), offset=offset))
        except NnpmError as own:
            faults.append(Fault(offset, own))
    return pieces, faults


def _sliced(job: Job, raws: Sequence[bytes], count: int) -> Piece:
    layout = job.block.layout
    assert layout is not None  # noqa: S101 -- only a job with a layout has `raw`
    inputs = {}
    for spec, data in zip(layout.inputs, raws, strict=True):
        try:
            inputs[spec.name] = raw.decode(by_name(spec.datatype), (count, *spec.shape), data)
        except InvalidArgument as error:
            raise named(error, spec.name) from error
    return piece_of(job, count, inputs, layout.inputs, outputs=layout.outputs, model_name=layout.model_name)


def _parsed(job: Job) -> Piece:
    try:
        request = ModelInferRequest.FromString(job.body or b"")
    except DecodeError as error:
        raise InvalidArgument("MALFORMED_REQUEST", "the request is no ModelInferRequest") from error
    found = arrays(request.inputs, request.raw_input_contents)
    inputs = {name: array[np.newaxis] for name, array in found.items()}
    specs = [InputSpec(name, of_array(array).name, array.shape) for name, array in found.items()]
    outputs = tuple(output.name for output in request.outputs)
    return piece_of(job, 1, inputs, specs, outputs=outputs, model_name=request.model_name)


def piece_of(
    job: Job,
    count: int,
    inputs: Mapping[str, NDArray[Any]],
    specs: Sequence[InputSpec],
    *,
    outputs: tuple[str, ...],
    model_name: str,
) -> Piece:
    """The first `count` requests of a job, whose inputs are as `specs` say."""
    sizes = {spec.shape[0] if spec.shape else 0 for spec in specs}
    rows = sizes.pop() if len(sizes) == 1 else 0
    kind = (outputs, *sorted([(spec.name, spec.datatype, spec.shape[1:]) for spec in specs]))
    return Piece(job, 0, count, inputs, outputs, model_name, rows, kind)


def _cut(layout: Layout, data: bytes) -> list[bytes]:
    """One request's bytes, by its inputs."""
    sizes = [element_count(spec.shape) * by_name(spec.datatype).itemsize for spec in layout.inputs]
    if sum(sizes) != len(data):
        raise InvalidArgument("TENSOR_SIZE_MISMATCH", f"{len(data)} bytes came for inputs that take {sum(sizes)}")
    at, cut = 0, []
    for size in sizes:
        cut.append(data[at : at + size])
        at += size
    return cut
