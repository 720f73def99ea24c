"""A stream entry: the requests that one worker takes together, and what it needs to answer them.

The wire form is `nnpm.api.worker.v1.Envelope` (protos/nnpm/api/worker/v1/envelope.proto), which documents every field.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from nnpm.api.worker.v1 import envelope_pb2
from nnpm.errors import DataLoss, Unimplemented

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class InputSpan:
    """Where one input's raw bytes lie in the body: `length` bytes from `offset`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What the scheduler's header check found in a body whose inputs all came as raw contents."""

    model_name: str
    id: str
    inputs: tuple[InputSpan, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One inference request.

    Its body is the client's ModelInferRequest byte for byte; None when it stays in the scheduler, to be redeemed there
    (then `claim_size` says how long it is). Times are nanoseconds on the scheduler's monotonic clock.
    """

    number: int
    nonce: int
    deadline_ns: int
    admitted_ns: int
    body: bytes | None
    claim_size: int = 0
    layout: Layout | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """Requests of one scheduler process, which takes the replies at `reply_address`. A suspect travels alone."""

    scheduler: str
    reply_address: str
    requests: tuple[Request, ...]
    suspect: bool = False


def encode(entry: Entry) -> bytes:
    """The value of the stream entry's one field."""
    envelope = envelope_pb2.Envelope(
        format_version=FORMAT_VERSION,
        scheduler=entry.scheduler,
        reply_address=entry.reply_address,
        suspect=entry.suspect,
    )
    for request in entry.requests:
        _fill(envelope.requests.add(), request)
    return envelope.SerializeToString()


def decode(data: bytes) -> Entry:
    """The entry in `data`.

    Raises:
        Unimplemented: ENTRY_FORMAT_UNKNOWN: written by a newer scheduler; leave it to a newer worker.
        DataLoss: ENTRY_CORRUPT.
    """
    try:
        envelope = envelope_pb2.Envelope.FromString(data)
    except DecodeError as error:
        raise DataLoss("ENTRY_CORRUPT", f"a queue entry is not an Envelope: {error}") from error
    if envelope.format_version != FORMAT_VERSION:
        raise Unimplemented(
            "ENTRY_FORMAT_UNKNOWN",
            f"a queue entry has format {envelope.format_version}; this version knows {FORMAT_VERSION}",
        )
    return Entry(
        scheduler=envelope.scheduler,
        reply_address=envelope.reply_address,
        requests=tuple(_request(message) for message in envelope.requests),
        suspect=envelope.suspect,
    )


def _fill(message: envelope_pb2.Request, request: Request) -> None:
    message.number = request.number
    message.nonce = request.nonce
    message.deadline_ns = request.deadline_ns
    message.admitted_ns = request.admitted_ns
    if request.body is None:
        message.claim.size = request.claim_size
    else:
        message.body = request.body
    if request.traceparent:
        message.traceparent = request.traceparent
    if request.layout is not None:
        _fill_layout(message.layout, request.layout)


def _fill_layout(message: envelope_pb2.Layout, layout: Layout) -> None:
    message.model_name = layout.model_name
    message.id = layout.id
    message.outputs.extend(layout.outputs)
    for span in layout.inputs:
        message.inputs.add(
            name=span.name, datatype=span.datatype, shape=span.shape, offset=span.offset, length=span.length
        )


def _request(message: envelope_pb2.Request) -> Request:
    return Request(
        number=message.number,
        nonce=message.nonce,
        deadline_ns=message.deadline_ns,
        admitted_ns=message.admitted_ns,
        body=message.body if message.HasField("body") else None,
        claim_size=message.claim.size,
        layout=_layout(message.layout) if message.HasField("layout") else None,
        traceparent=message.traceparent,
    )


def _layout(message: envelope_pb2.Layout) -> Layout:
    return Layout(
        model_name=message.model_name,
        id=message.id,
        inputs=tuple(
            InputSpan(span.name, span.datatype, tuple(span.shape), span.offset, span.length) for span in message.inputs
        ),
        outputs=tuple(message.outputs),
    )
