"""A stream entry: the requests that one worker takes together, in blocks, and what it needs to answer them.

The wire form is `nnpm.api.worker.v1.Envelope` (protos/nnpm/api/worker/v1/envelope.proto), which documents every field.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from nnpm.api.worker.v1 import envelope_pb2
from nnpm.errors import DataLoss, Unimplemented

FORMAT_VERSION = 2

MOST_LAYOUTS = 1_024
"""Layouts that a writer or reader of entries remembers: clients choose shapes, so there may be any number of them."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of each request of a block: its Open Inference Protocol datatype, and its exact shape."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What the scheduler's header check found in requests whose inputs all came as raw contents of fixed size.

    `size` is the bytes of one request's tensors. A decoder makes one object of equal layouts.
    """

    model_name: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Block:
    """`count` requests that say the same but for their ids and their tensors' bytes. Their numbers follow on.

    With a layout, `raw` holds for each input the bytes of all requests, one behind the other. Without, `body` is the
    one request's ModelInferRequest. A claimed request's bytes stay in the scheduler (`claim_size` of them): what `raw`
    would hold, one input behind the other, or the body. `ended` are the offsets of requests that nobody waits for any
    more, and that are not to be run. Times are nanoseconds on the scheduler's monotonic clock.
    """

    number: int
    nonce: int
    count: int
    deadline_ns: int
    admitted_ns: int
    layout: Layout | None = None
    raw: Sequence[bytes] = ()
    body: bytes = b""
    claim_size: int = 0
    traceparent: str = ""
    ended: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """Blocks of one scheduler process, which takes the replies at `reply_address`. A suspect request travels alone."""

    scheduler: str
    reply_address: str
    blocks: tuple[Block, ...]
    suspect: bool = False

    @property
    def requests(self) -> int:
        """In all its blocks."""
        return sum(block.count for block in self.blocks)


class Encoder:
    """Writes entries. Layouts are written once, and remembered for the next entries."""

    def __init__(self) -> None:
        self._layouts: dict[Layout, envelope_pb2.Layout] = {}

    def encode(self, entry: Entry) -> bytes:
        """The value of the stream entry's one field."""
        return envelope_pb2.Envelope(
            format_version=FORMAT_VERSION,
            scheduler=entry.scheduler,
            reply_address=entry.reply_address,
            suspect=entry.suspect,
            blocks=[self._block(block) for block in entry.blocks],
        ).SerializeToString()

    def _block(self, block: Block) -> envelope_pb2.Block:
        message = envelope_pb2.Block(
            number=block.number,
            nonce=block.nonce,
            count=block.count,
            deadline_ns=block.deadline_ns,
            admitted_ns=block.admitted_ns,
            traceparent=block.traceparent,
            layout=None if block.layout is None else self._layout(block.layout),
            raw=block.raw,
            body=block.body,
            ended=block.ended,
        )
        if block.claim_size:
            message.claim.size = block.claim_size
        return message

    def _layout(self, layout: Layout) -> envelope_pb2.Layout:
        message = self._layouts.get(layout)
        if message is None:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            message = self._layouts[layout] = envelope_pb2.Layout(
                model_name=layout.model_name,
                inputs=[
                    envelope_pb2.InputSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape)
                    for spec in layout.inputs
                ],
                outputs=layout.outputs,
                size=layout.size,
            )
        return message


class Decoder:
    """Reads entries. Equal layouts become one object, for as long as they are remembered."""

    def __init__(self) -> None:
        self._layouts: dict[bytes, Layout] = {}

    def decode(self, data: bytes) -> Entry:
        """The entry in `data`.

        Raises:
            Unimplemented: ENTRY_FORMAT_UNKNOWN: written by another version's scheduler; leave it to a worker of that.
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
            blocks=tuple([self._block(message) for message in envelope.blocks]),
            suspect=envelope.suspect,
        )

    def _block(self, message: envelope_pb2.Block) -> Block:
        return Block(
            message.number,
            message.nonce,
            message.count,
            message.deadline_ns,
            message.admitted_ns,
            self._layout(message.layout) if message.HasField("layout") else None,
            tuple(message.raw),
            message.body,
            message.claim.size if message.HasField("claim") else 0,
            message.traceparent,
            tuple(message.ended),
        )

    def _layout(self, message: envelope_pb2.Layout) -> Layout:
        key = message.SerializeToString(deterministic=True)
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[key] = Layout(
                model_name=message.model_name,
                inputs=tuple(InputSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in message.inputs),
                outputs=tuple(message.outputs),
                size=message.size,
            )
        return layout
