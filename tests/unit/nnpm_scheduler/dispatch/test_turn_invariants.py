"""Whatever happens in whatever order, every call ends once with what is its own, and every book is balanced."""

from collections import Counter
from random import Random

import pytest
from google.rpc.status_pb2 import Status

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import InvalidArgument, Unavailable
from nnpm.queue.entry import Block
from nnpm.rpc.status import from_status
from nnpm_scheduler.dispatch.calls_aio import AioCall
from nnpm_scheduler.dispatch.inflight import Posted
from support.core import REVISION, Core

ENDS = {"INVALID_CONTENTS", "POISON_REQUEST"}


class Play:
    """One run: the dice choose who acts next."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.core = Core(ready=self.dice.randint(1, 3), batch=self.dice.choice([1, 4, 16, 64]))
        self.calls: list[AioCall] = []
        self.ended: Counter[str] = Counter()
        self.in_redis: list[Posted] = []
        self.read: list[Block] = []
        self.untold: list[AioCall] = []

    def arrive(self) -> None:
        self.calls += self.core.send(self.dice.randint(1, 40), first=len(self.calls))

    def write(self) -> None:
        if self.core.stream.appended and self.dice.random() < 0.2:
            self.core.dispatch.unwritten(self.core.stream.take())
            return
        self.in_redis += self.core.write()

    def read_one(self) -> None:
        entry = self._some(self.in_redis)
        if entry is not None and self.core.inflight.holds(entry):
            self.read += self.core.blocks(entry)

    def answer(self) -> None:
        """As well of what was taken back meanwhile, or answered already."""
        block = self._some(self.read)
        if block is None:
            return
        offset = self.dice.randrange(block.count)
        count = self.dice.randint(1, block.count - offset)
        match self.dice.random():
            case luck if luck < 0.1:
                self.core.fail(block, InvalidArgument("INVALID_CONTENTS", "no"), offset, count)
            case luck if luck < 0.25:
                self.core.fail(block, Unavailable("NOT_BEGUN", "not begun"), offset, count)
            case _:
                self.core.answer(block, offset, count)

    def leave(self) -> None:
        """A client goes; the core hears of it later."""
        call = self._some(self.calls)
        if call is not None and not call.outcome.done():
            call.outcome.cancel()
            self.untold.append(call)

    def hear(self) -> None:
        self.core.cancel(*self.untold)
        self.untold = []

    def lose(self) -> None:
        entry = self._some(self.in_redis)
        if entry is None or not self.core.inflight.holds(entry):
            return
        if self.dice.random() < 0.5:
            self.core.dispatch.put_back(entry)
        else:
            if entry.suspect and self.dice.random() < 0.5:
                flight = entry.flights[0]
                self.core.dispatch.begin("worker", flight.number, flight.nonce)
            self.core.dispatch.take_back(entry, "worker")

    def scale(self) -> None:
        self.core.scale(self.dice.randint(0, 3), batch=self.dice.choice([1, 4, 16]))

    def close_or_open(self) -> None:
        self.core.stream.open = not self.core.stream.open
        if self.core.stream.open:
            self.core.dispatch.opened()

    def finish(self) -> None:
        """Everything that is still wanted gets its answer."""
        self.hear()
        self.core.stream.open = True
        self.core.dispatch.opened()
        while True:
            self.in_redis += self.core.write()
            held = self.core.inflight.entries()
            if not held:
                break
            for entry in held:
                for block in self.core.blocks(entry):
                    self.core.answer(block)

    def _some(self, of: list) -> object:  # type: ignore[type-arg] # any list, and one of its elements
        return self.dice.choice(of) if of else None


def end_of(call: AioCall) -> str:
    """How a call ended, after it was seen that an answer is its own."""
    if call.outcome.cancelled():
        return "cancelled"
    outcome = call.outcome.result()
    if not isinstance(outcome, bytes):
        return from_status(Status.FromString(outcome.details)).reason
    answer = pb.ModelInferResponse.FromString(outcome)
    assert answer.id == call.id
    assert answer.raw_output_contents[0] == pb.ModelInferRequest.FromString(call.body).raw_input_contents[0]
    return "answered"


@pytest.mark.parametrize("seed", range(150))
async def test_every_call_ends_once_and_every_book_is_balanced(seed: int) -> None:
    play = Play(seed)
    acts = [play.arrive, play.write, play.read_one, play.answer, play.leave, play.hear, play.lose]
    weights = [2, 8, 6, 8, 3, 3, 2]
    for _ in range(300):
        play.dice.choices([*acts, play.scale, play.close_or_open], [*weights, 0.3, 0.5])[0]()
    play.finish()
    ends = Counter(end_of(call) for call in play.calls)
    assert set(ends) <= {"answered", "cancelled", *ENDS}
    play.core.assert_balanced()
    figures = play.core.statistics.of(REVISION)
    assert (figures.success.count, figures.fail.count) == (
        ends["answered"],
        ends.total() - ends["answered"] - ends["cancelled"],
    )
    method = "/inference.GRPCInferenceService/ModelInfer"
    assert play.core.sample("nnpm_requests_total", method=method, code="CANCELLED") == ends["cancelled"]
