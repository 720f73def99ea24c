"""Open-loop load: calls leave when they are due, however many are unanswered, as those of many clients do."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc.aio
import numpy as np

from benchmarks import bodies
from benchmarks.load_run import LoadError
from benchmarks.sleeper import SLEEPER
from fairness.balance import Arrival
from nnpm.rpc.status import from_call

METHOD = "/inference.GRPCInferenceService/ModelInfer"
SLACK = 5.0
"""Seconds after the last deadline at which a call that has not ended is a fault of the mesh."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Calls of one kind: so many a second (at random, as Poisson's), each with a time-out and metadata."""

    name: str
    rate: float
    timeout: float
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """What became of a call: seconds since the load began, seconds that it took, and the reason; empty = answered."""

    sent: float
    took: float
    reason: str


class Seen:
    """What became of a flow's calls, in the order of their ends."""

    def __init__(self, ends: Sequence[End], seconds: float) -> None:
        self.ends = ends
        self.seconds = seconds
        self.answered = sorted(end.took for end in ends if not end.reason)
        self.refused = Counter(end.reason for end in ends if end.reason)

    @property
    def goodput(self) -> float:
        """Answers a second, while calls were sent."""
        return sum(not end.reason and end.sent + end.took <= self.seconds for end in self.ends) / self.seconds

    def percentile(self, share: float) -> float:
        """Of the answered calls' latencies, in milliseconds."""
        return 1e3 * float(np.percentile(self.answered, share)) if self.answered else float("nan")


async def replay(address: str, arrivals: Sequence[Arrival], timeout: float) -> list[float]:
    """Sends the calls of a trace when they are due; seconds that each took, in their order. Raises LoadError."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    flow = Flow("trace", 1.0, timeout)
    lengths = {arrival.run for arrival in arrivals}
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        infer: Any = channel.unary_unary(METHOD)
        begin = time.monotonic() + 0.05
        senders = {run: _Sender(address, flow, _body(run), begin) for run in lengths}
        async with asyncio.TaskGroup() as calls:
            tasks = []
            for arrival in arrivals:
                if (early := begin + arrival.at - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                tasks.append(calls.create_task(senders[arrival.run].call(infer)))
    ends = [task.result() for task in tasks]
    if failed := [end.reason for end in ends if end.reason]:
        raise LoadError(f"{len(failed)} of {len(ends)} calls failed, the first with {failed[0]}")
    return [end.sent + end.took - arrival.at for end, arrival in zip(ends, arrivals, strict=True)]


async def drive(address: str, flows: Sequence[Flow], run: float, seconds: float, dice: Random) -> dict[str, Seen]:
    """So many seconds of all flows, each over a connection of its own; returns when every call has ended."""
    body = _body(run)
    begin = time.monotonic() + 0.05
    async with asyncio.TaskGroup() as tasks:
        running = {
            flow.name: tasks.create_task(_Sender(address, flow, body, begin).send(seconds, Random(dice.random())))
            for flow in flows
        }
    return {name: Seen(task.result(), seconds) for name, task in running.items()}


def _body(run: float) -> bytes:
    return bodies.request(SLEEPER, np.full((1, 1), run, np.float32), served_as=SLEEPER.name)


class _Sender:
    """Sends one flow's calls."""

    def __init__(self, address: str, flow: Flow, body: bytes, begin: float) -> None:
        self._address = address
        self._flow = flow
        self._body = body
        self._begin = begin
        self._ends: list[End] = []

    async def send(self, seconds: float, dice: Random) -> list[End]:
        """So many seconds of calls; returns when all have ended."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._address, options=options) as channel, asyncio.TaskGroup() as calls:
            infer: Any = channel.unary_unary(METHOD)
            due = self._begin
            while (due := due + dice.expovariate(self._flow.rate)) < self._begin + seconds:
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                calls.create_task(self.call(infer))
        return self._ends

    async def call(self, infer: Any) -> End:
        """One, now."""
        flow, sent, reason = self._flow, time.monotonic(), ""
        try:
            async with asyncio.timeout(flow.timeout + SLACK):
                await infer(self._body, timeout=flow.timeout, metadata=tuple(flow.metadata.items()))
        except grpc.aio.AioRpcError as error:
            told = from_call(error)
            reason = told.reason or told.code
        except TimeoutError:
            reason = "LOST"
        end = End(sent - self._begin, time.monotonic() - sent, reason)
        self._ends.append(end)
        return end
