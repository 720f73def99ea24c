"""A `Front` whose Python half is a test: it sees what came, and says what is answered."""

import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm_wire import Calls, Client, Delivered, Front
from support.waiting import wait_until

WAIT = 20.0
SCHEDULER = "this-one"
REASONS = (
    *("too_many_calls", "total_bytes", "connection_bytes", "message_too_large", "shutting_down"),
    *("wrong_scheduler", "claim_not_found", "malformed", "compressed", "unknown_order", "names_no_id"),
)
CODES = {code.value[0]: code for code in grpc.StatusCode}
HEAD = pb.ModelInferResponse(model_name="m", model_version="1").SerializeToString()
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


def request(tensor: bytes = b"\0" * 4, id: str = "", model: str = "m") -> bytes:  # noqa: A002 -- as the protocol
    """A plain ModelInferRequest."""
    message = pb.ModelInferRequest(model_name=model, id=id, raw_input_contents=[tensor])
    message.inputs.add(name="x", datatype="UINT8", shape=[1, len(tensor)])
    return message.SerializeToString()


class Driven:
    """One front with a data and a mesh door, and what has come of it so far."""

    def __init__(self, upstream: Path, tls: tuple[bytes, bytes, bytes | None] | None = None, **settings: object):
        bounds = {"max_message_bytes": 64 << 20, "total_bytes": 1 << 30, "connection_bytes": 1 << 30, "calls": 10_000}
        refusals = {reason: (9, f"refused: {reason}", b"details of it") for reason in REASONS}
        chosen: dict[str, Any] = {**bounds, "metadata": ("traceparent", "tracestate"), **settings}
        self.front = Front(scheduler=SCHEDULER, refusals=refusals, **chosen)
        self.data = self.front.listen("127.0.0.1:0", upstream=str(upstream), role="data", tls=tls)
        self.mesh = self.front.listen("127.0.0.1:0", upstream=str(upstream), role="mesh", tls=tls)
        self.upstream = upstream
        self.blocks: list[Calls] = []
        self.cancelled: list[tuple[int, int]] = []
        self.delivered: list[Delivered] = []
        self._number = 1
        self._channels: list[grpc.Channel] = []
        self._client = Client(max_message_bytes=64 << 20)

    def close(self) -> None:
        """Ends clients and front."""
        for channel in self._channels:
            channel.close()
        self._client.close()
        self.front.close()

    def turn(self, wait: float = 0.0) -> None:
        """Takes what has happened, or waits for something to."""
        if select.select([self.front.fileno()], [], [], wait)[0]:
            turn = self.front.turn()
            self.blocks += turn.calls
            self.cancelled += turn.cancelled
            self.delivered += turn.delivered

    def until(self, condition: Callable[[], bool]) -> None:
        """Takes turns until it holds."""
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            self.turn(0.05)
            if condition():
                return
        raise AssertionError("it did not come to pass")

    def arrived(self, calls: int) -> list[Calls]:
        """The blocks, once so many calls are in them."""
        self.until(lambda: sum(map(len, self.blocks)) >= calls)
        return self.blocks

    def held(self, calls: int) -> None:
        """Waits, without taking a turn, until so many calls are there."""
        wait_until(lambda: self.front.calls_held == calls)

    def fly(self, block: Calls, nonce: int = 7) -> int:
        """Numbers a block."""
        number, self._number = self._number, self._number + len(block)
        block.fly(number, nonce)
        return number

    def channel(self, address: str = "") -> grpc.Channel:
        """A connection of its own."""
        self._channels.append(grpc.insecure_channel(address or self.data, options=OPTIONS))
        return self._channels[-1]

    def call(self, body: bytes, *, channel: grpc.Channel | None = None, **options: Any) -> Any:
        """ModelInfer, begun. (Calls that shall share a block go without a time-out, lest theirs differ too much.)"""
        unary = (channel or self.channel()).unary_unary("/inference.GRPCInferenceService/ModelInfer")
        return unary.future(body, timeout=options.pop("timeout", WAIT), **options)

    def ask(self, method: str, message: bytes) -> tuple[int, str, list[bytes]]:
        """A call of a worker's, by nnpm_wire's own client: code, message, answers."""
        path = f"/nnpm.api.worker.v1.WorkerService/{method}"
        token = self._client.call(self.mesh, path, [message], WAIT)
        ((ended, code, text, _, messages),) = turn_of(self._client)
        assert ended == token
        return code, text, [bytes(one) for one in messages]

    def deliver(self, *replies: wire.Reply, scheduler: str = SCHEDULER) -> int:
        """How many calls they completed."""
        figures = wire.BatchFigures(requests=1, rows=2, compute_input_ns=3, compute_infer_ns=4, compute_output_ns=5)
        request = wire.DeliverRequest(worker="w", scheduler=scheduler, revision="r", replies=replies, figures=figures)
        code, text, messages = self.ask("Deliver", request.SerializeToString())
        assert not code, text
        return wire.DeliverResponse.FromString(messages[0]).completed

    def redeem(self, number: int, nonce: int) -> bytes | str:
        """A claim's bytes, or what was said instead."""
        request = wire.RedeemPayloadRequest(number=number, nonce=nonce)
        code, text, messages = self.ask("RedeemPayload", request.SerializeToString())
        assert all(len(message) <= (1 << 20) + 16 for message in messages)
        return text if code else b"".join(wire.RedeemPayloadResponse.FromString(one).data for one in messages)

    def at_rest(self) -> bool:
        """Nothing is held for anybody."""
        return (self.front.calls_held, self.front.bytes_held) == (0, 0)


def turn_of(client: Client) -> list[tuple[int, int, str, bytes, list[bytes]]]:
    """The calls that have ended, once one has."""
    assert select.select([client.fileno()], [], [], WAIT)[0]
    return client.turn()


def reply(number: int, count: int, *raw: bytes, offset: int = 0, nonce: int = 7, head: bytes = HEAD) -> wire.Reply:
    """A worker's."""
    return wire.Reply(number=number, nonce=nonce, offset=offset, count=count, head=head, raw=raw, queue_ns=11)


def answer(call: Any) -> pb.ModelInferResponse:
    """What a call was answered with."""
    return pb.ModelInferResponse.FromString(call.result(WAIT))


def numbered(blocks: Sequence[Calls]) -> list[str]:
    """The ids in all of them."""
    return sorted(name for block in blocks for name in block.ids())
