"""The scheduler's side of the dispatch protocol, played by the test, which decides what is sent and answered.

Everything between is real: Redis, the worker's process, gRPC on a unix socket.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc.aio
import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nnpm.api.artifact.v1.artifact_pb2 import ReadFileRequest, ReadFileResponse
from nnpm.api.artifact.v1.artifact_pb2_grpc import ArtifactServiceServicer, add_ArtifactServiceServicer_to_server
from nnpm.api.inference.inference_pb2 import ModelInferRequest, ModelInferResponse
from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.api.worker.v1.worker_pb2_grpc import WorkerServiceServicer, add_WorkerServiceServicer_to_server
from nnpm.errors import NnpmError
from nnpm.package.digest import digest_of
from nnpm.package.manifest import Manifest
from nnpm.queue.entry import Block, Encoder, Entry, InputSpec, Layout
from nnpm.queue.keys import FIELD, requests_key
from nnpm.queue.schedulers import LEASE, LiveScheduler, SchedulerListing
from nnpm.rpc.status import from_status
from nnpm.tensors import raw
from nnpm.tensors.datatypes import of_array
from nnpm.tensors.messages import arrays
from support.waiting import eventually


@dataclass
class Connected:
    """A worker's Session as the scheduler sees it."""

    hello: wire.Hello
    down: asyncio.Queue[wire.SessionResponse]
    statuses: list[wire.ModelStatus] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    drained: bool = False


class SchedulerDouble(WorkerServiceServicer, ArtifactServiceServicer):
    """One scheduler process, and the artifact service too: both on one socket."""

    def __init__(self, redis: Redis, socket: Path) -> None:
        self.redis = redis
        self.address = f"unix:{socket}"
        self.incarnation = secrets.token_hex(8)
        self.files: dict[str, bytes] = {}
        self.reads: list[str] = []
        self.sessions: dict[str, Connected] = {}
        self.replies: dict[int, wire.Reply] = {}
        self.delivered: list[wire.DeliverRequest] = []
        self.begun: list[int] = []
        self.wanted = True
        self.refuse_delivers = 0
        self.bodies: dict[int, bytes] = {}
        self._next = 1
        self._server: grpc.aio.Server | None = None
        self._listing = SchedulerListing(redis, LiveScheduler(self.incarnation, self.address))
        self._keep: asyncio.Task[None] | None = None

    async def start(self) -> "SchedulerDouble":
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26)]
        )
        add_WorkerServiceServicer_to_server(self, self._server)
        add_ArtifactServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()
        await self.list_only()
        return self

    async def list_only(self) -> None:
        """Be listed, and answer nobody."""
        await self._listing.enter()
        self._keep = asyncio.create_task(self._stay_listed())

    async def _stay_listed(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                await self._listing.refresh()
            await asyncio.sleep(LEASE / 2)

    async def stop(self, *, leave: bool = True) -> None:
        if self._keep is not None:
            self._keep.cancel()
            await asyncio.gather(self._keep, return_exceptions=True)
        if leave:
            await self._listing.leave()
        if self._server is not None:
            await self._server.stop(0)

    # What workers call.

    async def Session(self, request_iterator, context) -> AsyncIterator[wire.SessionResponse]:
        hello = (await anext(aiter(request_iterator))).hello
        connected = self.sessions[hello.name] = Connected(hello, asyncio.Queue())
        connected.statuses += hello.models
        listener = asyncio.create_task(self._listen(connected, request_iterator))
        try:
            yield wire.SessionResponse(
                welcome=wire.Welcome(scheduler=self.incarnation, lease_ms=2000, clock_ns=time.monotonic_ns())
            )
            while True:
                try:
                    async with asyncio.timeout(1):
                        yield await connected.down.get()
                except TimeoutError:
                    yield wire.SessionResponse(heartbeat=wire.SchedulerHeartbeat(clock_ns=time.monotonic_ns()))
        finally:
            listener.cancel()

    async def _listen(self, connected: Connected, requests: AsyncIterator[wire.SessionRequest]) -> None:
        async for message in requests:
            kind = message.WhichOneof("message")
            if kind == "model_status":
                connected.statuses.append(message.model_status)
            elif kind == "heartbeat":
                connected.beats.append(time.monotonic())
            elif kind == "drained":
                connected.drained = True
            elif kind == "begin":
                self.begun.append(message.begin.number)
                number = message.begin.number
                connected.down.put_nowait(
                    wire.SessionResponse(go=wire.Go(number=number))
                    if self.wanted
                    else wire.SessionResponse(not_wanted=wire.NotWanted(number=number))
                )

    async def Deliver(self, request: wire.DeliverRequest, context) -> wire.DeliverResponse:
        if self.refuse_delivers > 0:
            self.refuse_delivers -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the test refuses")
        self.delivered.append(request)
        for reply in request.replies:
            for single in _singles(reply):
                self.replies.setdefault(single.number, single)
        return wire.DeliverResponse(completed=sum(reply.count for reply in request.replies))

    async def RedeemPayload(
        self, request: wire.RedeemPayloadRequest, context
    ) -> AsyncIterator[wire.RedeemPayloadResponse]:
        body = self.bodies.get(request.number)
        if body is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no longer wanted")
        for start in range(0, len(body), 1 << 20):
            yield wire.RedeemPayloadResponse(data=body[start : start + (1 << 20)])

    async def ReadFile(self, request: ReadFileRequest, context) -> AsyncIterator[ReadFileResponse]:
        self.reads.append(request.digest)
        content = self.files[request.digest]
        for start in range(request.offset, len(content), 1 << 20):
            yield ReadFileResponse(data=content[start : start + (1 << 20)])

    # What tests do.

    async def worker(self, name: str = "worker") -> Connected:
        await eventually(lambda: name in self.sessions, 10, what=f"{name} connects")
        return self.sessions[name]

    def publish(self, files: dict[str, bytes], model: str = "model.onnx", **manifest: object) -> Manifest:
        self.files |= {digest_of(content): content for content in files.values()}
        return Manifest.build(
            {
                "format": 1,
                "name": "acme/tiny",
                "version": "1.2.3",
                "license": "Apache-2.0",
                "model": model,
                "files": [
                    {"path": path, "size": len(files[path]), "digest": digest_of(files[path])} for path in sorted(files)
                ],
                **manifest,
            }
        )

    def load_message(
        self, manifest: Manifest, signature: Sequence[tuple[str, str, tuple[int, ...]]], revision: str, token: int = 1
    ) -> wire.SessionResponse:
        """`signature`: (name, datatype, shape); names that begin with y are outputs."""
        specs = [wire.TensorSpec(name=name, datatype=datatype, shape=shape) for name, datatype, shape in signature]
        load = wire.Load(
            fencing_token=token,
            revision=revision,
            namespace="acme",
            package="acme/tiny",
            version=manifest.version,
            manifest=manifest.canonical(),
            manifest_digest=manifest.digest(),
            inputs=[spec for spec in specs if not spec.name.startswith("y")],
            outputs=[spec for spec in specs if spec.name.startswith("y")],
        )
        return wire.SessionResponse(load=load)

    async def serve(
        self,
        worker: Connected,
        files: dict[str, bytes],
        signature: Sequence[tuple[str, str, tuple[int, ...]]],
        revision: str,
        **manifest: object,
    ) -> wire.ModelStatus:
        """Publishes, loads, and waits until the revision is ready."""
        package = self.publish(files, **manifest)
        worker.down.put_nowait(self.load_message(package, signature, revision))
        return await self.state(worker, revision, "READY")

    async def state(self, worker: Connected, revision: str, *states: str, deadline: float = 30) -> wire.ModelStatus:
        """Waits for a status of the revision in one of the states."""
        numbers = {wire.ModelState.Value(f"MODEL_STATE_{state}") for state in states}

        def found() -> wire.ModelStatus | None:
            matching = [s for s in worker.statuses if s.revision == revision and s.state in numbers]
            return matching[-1] if matching else None

        await eventually(lambda: found() is not None, deadline, what=f"{revision} is {states}")
        status = found()
        assert status is not None
        return status

    def request(
        self,
        inputs: dict[str, np.ndarray],
        *,
        deadline: float = 30.0,
        claimed: bool = False,
        traceparent: str = "",
        whole: bool = False,
        **fields: object,
    ) -> Block:
        """As a scheduler sends it: with a layout where that is possible, unless it is to come `whole`."""
        message = ModelInferRequest(model_name="acme-tiny", **fields)
        for name, array in inputs.items():
            message.inputs.add(name=name, datatype=of_array(array).name, shape=array.shape)
            message.raw_input_contents.append(bytes(raw.encode(array)))
        if whole or any(tensor.datatype == "BYTES" for tensor in message.inputs):
            body = message.SerializeToString()
            return self.request_of(body, deadline=deadline, claimed=claimed, traceparent=traceparent)
        contents = [bytes(content) for content in message.raw_input_contents]
        return self._block(1, _layout_of(message), contents, b"", deadline, claimed, traceparent)

    def request_of(self, body: bytes, *, deadline: float = 30.0, claimed: bool = False, traceparent: str = "") -> Block:
        """One that has to be parsed in full."""
        return self._block(1, None, [], body, deadline, claimed, traceparent)

    def block(self, inputs: Sequence[dict[str, np.ndarray]], *, deadline: float = 30.0) -> Block:
        """Requests of equal names, datatypes and shapes, as one block."""
        one = self.request(inputs[0])
        contents = [b"".join(bytes(raw.encode(each[name])) for each in inputs) for name in inputs[0]]
        return self._block(len(inputs), one.layout, contents, b"", deadline, False, "")

    def _block(
        self,
        count: int,
        layout: Layout | None,
        contents: list[bytes],
        body: bytes,
        deadline: float,
        claimed: bool,
        traceparent: str,
    ) -> Block:
        number, self._next = self._next, self._next + count
        held = body if layout is None else b"".join(contents)
        if claimed:
            self.bodies[number] = held
        now = time.monotonic_ns()
        return Block(
            number=number,
            nonce=secrets.randbits(64),
            count=count,
            deadline_ns=now + int(deadline * 1e9),
            admitted_ns=now,
            layout=layout,
            raw=() if claimed else contents,
            body=b"" if claimed else body,
            claim_size=len(held) if claimed else 0,
            traceparent=traceparent,
        )

    async def send(self, revision: str, *blocks: Block, suspect: bool = False) -> bytes:
        entry = Entry(self.incarnation, self.address, blocks, suspect)
        return await self.redis.xadd(requests_key(revision), {FIELD: Encoder().encode(entry)})

    async def answer(self, request: Block, deadline: float = 20) -> dict[str, np.ndarray]:
        """The tensors of the answer; raises the error that it was instead."""
        response = await self.response(request, deadline)
        return arrays(response.outputs, response.raw_output_contents)

    async def response(self, request: Block, deadline: float = 20) -> ModelInferResponse:
        await eventually(lambda: request.number in self.replies, deadline, what=f"answer {request.number}")
        reply = self.replies[request.number]
        assert reply.nonce == request.nonce
        if reply.HasField("status"):
            raise from_status(reply.status)
        response = ModelInferResponse.FromString(reply.head)
        response.raw_output_contents.extend(reply.raw)
        return response

    async def error(self, request: Block, deadline: float = 20) -> NnpmError:
        try:
            await self.response(request, deadline)
        except NnpmError as error:
            return error
        raise AssertionError("it was answered")

    async def at_rest(self, revision: str) -> bool:
        """Nothing in the stream, nothing pending."""
        key = requests_key(revision)
        pending = await self.redis.xpending(key, "workers")
        return await self.redis.xlen(key) == 0 and pending["pending"] == 0


def singles(block: Block) -> list[Block]:
    """A block's requests, each to be asked for on its own."""
    return [replace(block, number=block.number + offset, count=1) for offset in range(block.count)]


def _singles(reply: wire.Reply) -> list[wire.Reply]:
    """A reply cut apart, each under its request's own number."""
    found = []
    for index in range(reply.count):
        single = wire.Reply()
        single.CopyFrom(reply)
        single.number, single.offset, single.count = reply.number + reply.offset + index, 0, 1
        strides = [len(content) // reply.count for content in reply.raw]
        single.raw[:] = [
            content[index * stride : (index + 1) * stride] for content, stride in zip(reply.raw, strides, strict=True)
        ]
        found.append(single)
    return found


def _layout_of(message: ModelInferRequest) -> Layout:
    return Layout(
        model_name=message.model_name,
        inputs=tuple(InputSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in message.inputs),
        outputs=tuple(output.name for output in message.outputs),
        size=sum(map(len, message.raw_input_contents)),
    )
