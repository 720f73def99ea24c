"""The dispatch core over a stream in the test's hands: every call ends once, and every book is balanced."""

import asyncio
import time

import pytest
from google.rpc.status_pb2 import Status

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import InvalidArgument, NnpmError, Unavailable
from nnpm.queue.entry import Block
from nnpm.rpc.status import from_status, to_status
from nnpm_scheduler.dispatch.calls_aio import AioCall, AioCalls, Failure
from nnpm_scheduler.dispatch.replies import Reply
from nnpm_scheduler.dispatch.routes import RouteTable
from support.core import REVISION, Core, call_of
from support.front import echo_request
from support.waiting import eventually

HANDED_BACK = Unavailable("NOT_BEGUN", "not begun")
BROKEN = InvalidArgument("INVALID_CONTENTS", "no")


def ids(calls: list[AioCall]) -> list[str]:
    """Of the answers; each must be its own call's."""
    found = []
    for call in calls:
        outcome = call.outcome.result()
        assert isinstance(outcome, bytes), outcome
        answer = pb.ModelInferResponse.FromString(outcome)
        assert answer.id == call.id
        assert answer.raw_output_contents[0] == pb.ModelInferRequest.FromString(call.body).raw_input_contents[0]
        found.append(answer.id)
    return found


def reasons(calls: list[AioCall]) -> list[str]:
    found = []
    for call in calls:
        outcome = call.outcome.result()
        assert isinstance(outcome, Failure)
        found.append(from_status(Status.FromString(outcome.details)).reason)
    return found


def sent(core: Core) -> list[Block]:
    return [block for entry in core.write() for block in core.blocks(entry)]


async def test_a_block_travels_as_one_and_each_call_gets_its_own_answer() -> None:
    core = Core()
    calls = core.send(5)
    (block,) = sent(core)
    assert (block.count, block.layout is not None, len(block.raw[0])) == (5, True, 60)
    assert core.answer(block) == 5
    assert ids(calls) == ["0", "1", "2", "3", "4"]
    core.assert_balanced()


async def test_a_block_is_cut_by_batch_and_replicas_and_numbers_follow_on() -> None:
    core = Core(batch=4, ready=2)
    calls = core.send(9)
    blocks = sent(core)
    assert [(block.number, block.count) for block in blocks] == [(1, 4), (5, 4), (9, 1)]
    for block in reversed(blocks):
        core.answer(block)
    assert len(ids(calls)) == 9
    core.assert_balanced()


async def test_answers_may_come_in_parts_and_once_only() -> None:
    core = Core()
    calls = core.send(6)
    (block,) = sent(core)
    assert core.answer(block, 2, 2) == 2
    assert core.answer(block, 0, 3) == 2
    assert core.answer(block, 2, 2) == 0
    assert core.answer(block, 4, 2) == 2
    assert core.answer(block) == 0
    assert len(ids(calls)) == 6
    core.assert_balanced()


async def test_a_reply_needs_the_nonce_and_keeps_to_its_block() -> None:
    core = Core(batch=2)
    calls = core.send(4)
    one, two = sent(core)
    for forged in (
        Reply(one.number, one.nonce ^ 1, 0, 2, b"", [bytes(24)]),
        Reply(one.number, one.nonce, 1, 3, b"", [bytes(36)]),
        Reply(one.number, one.nonce, 0, 0, b"", [b""]),
        Reply(two.number + 1, two.nonce, 0, 1, b"", [bytes(12)]),
        Reply(one.number, two.nonce, 0, 2, b"", (), Status(code=3).SerializeToString()),
        Reply(one.number, one.nonce, 0, 4, b"", (), Status(code=3).SerializeToString()),
    ):
        assert core.deliver(forged) == 0
    core.answer(one)
    core.answer(two)
    assert len(ids(calls)) == 4
    core.assert_balanced()


async def test_statistics_and_metrics_count_calls_not_blocks() -> None:
    core = Core()
    calls = core.send(5)
    assert core.sample("nnpm_in_flight_calls") == 5
    core.cancel(calls[0])
    (block,) = sent(core)
    core.fail(block, BROKEN, 1, 1)
    assert core.answer(block, 2, 3) == 3
    figures = core.statistics.of(REVISION)
    assert (figures.success.count, figures.fail.count, figures.queue.count) == (3, 1, 3)
    assert figures.compute_infer.ns == 3 * 20
    method = "/inference.GRPCInferenceService/ModelInfer"
    counted = {code: core.sample("nnpm_requests_total", method=method, code=code) for code in ("OK", "CANCELLED")}
    assert counted == {"OK": 3, "CANCELLED": 1}
    assert core.sample("nnpm_errors_total", reason="INVALID_CONTENTS") == 1
    assert core.sample("nnpm_request_seconds_count", method=method) == 4
    assert core.sample("nnpm_queue_seconds_count", revision=REVISION) == 3
    assert core.sample("nnpm_bytes_total", direction="received") == sum(len(call.body) for call in calls)
    assert reasons(calls[1:2]) == ["INVALID_CONTENTS"]
    core.assert_balanced()


async def test_one_call_of_many_can_be_cancelled_wherever_its_block_is() -> None:
    core = Core()
    calls = core.send(4)
    core.cancel(calls[1])
    (entry,) = core.write()
    (block,) = core.blocks(entry)
    core.cancel(calls[2])
    assert (core.told.numbers, core.stream.removed) == ([2, 3], [])
    assert core.answer(block) == 2
    assert ids([calls[0], calls[3]]) == ["0", "3"]
    core.assert_balanced()


async def test_calls_that_are_cancelled_while_their_block_waits_are_not_to_be_run() -> None:
    core = Core()
    core.stream.open = False
    calls = core.send(4)
    core.cancel(calls[0], calls[2])
    core.stream.open = True
    core.dispatch.opened()
    (entry,) = core.write()
    (block,) = core.blocks(entry)
    assert (block.count, block.ended, core.told.numbers) == (4, (0, 2), [])
    assert core.answer(block) == 2
    core.assert_balanced()


async def test_an_entry_whose_calls_are_all_cancelled_is_removed_also_when_it_is_just_being_written() -> None:
    core = Core(batch=2)
    calls = core.send(4)
    first, second = core.stream.appended
    core.cancel(*calls[:2])
    assert core.stream.removed == []
    core.write()
    assert core.stream.removed == [first]
    core.cancel(*calls[2:])
    assert core.stream.removed == [first, second]
    core.assert_balanced()


async def test_a_status_for_a_part_fails_that_part_alone() -> None:
    core = Core()
    calls = core.send(5)
    (block,) = sent(core)
    assert core.fail(block, BROKEN, 1, 2) == 2
    assert core.answer(block) == 3
    assert reasons(calls[1:3]) == ["INVALID_CONTENTS"] * 2
    assert ids([calls[0], *calls[3:]]) == ["0", "3", "4"]
    core.assert_balanced()


@pytest.mark.parametrize(("offset", "count"), [(0, 4), (0, 2), (1, 2), (3, 1)])
async def test_what_a_stopping_worker_hands_back_goes_to_another(offset: int, count: int) -> None:
    core = Core()
    calls = core.send(4)
    (block,) = sent(core)
    assert core.fail(block, HANDED_BACK, offset, count) == count
    again = sent(core)
    assert sum(block.count for block in again) == count
    core.answer(block)
    for other in again:
        core.answer(other)
    assert ids(calls) == ["0", "1", "2", "3"]
    core.assert_balanced()


async def test_what_is_handed_back_twice_waits_once() -> None:
    core = Core()
    calls = core.send(2)
    (block,) = sent(core)
    core.stream.open = False
    core.fail(block, HANDED_BACK)
    assert core.fail(block, HANDED_BACK) == 0
    core.stream.open = True
    core.dispatch.opened()
    (again,) = sent(core)
    core.answer(again)
    assert ids(calls) == ["0", "1"]
    core.assert_balanced()


async def test_a_status_for_a_block_that_waits_again_fails_it_where_it_waits() -> None:
    core = Core()
    calls = core.send(3)
    (entry,) = core.write()
    (block,) = core.blocks(entry)
    core.stream.open = False
    core.dispatch.put_back(entry)
    assert core.fail(block, BROKEN) == 3
    core.stream.open = True
    core.dispatch.opened()
    assert core.stream.appended == []
    assert reasons(calls) == ["INVALID_CONTENTS"] * 3
    core.assert_balanced()


async def test_a_status_for_a_part_of_a_block_that_waits_again_is_left_to_its_next_run() -> None:
    core = Core()
    calls = core.send(3)
    (entry,) = core.write()
    (block,) = core.blocks(entry)
    core.stream.open = False
    core.dispatch.put_back(entry)
    assert core.fail(block, BROKEN, 0, 2) == 0
    core.stream.open = True
    core.dispatch.opened()
    (again,) = sent(core)
    core.answer(again)
    assert ids(calls) == ["0", "1", "2"]
    core.assert_balanced()


async def test_replies_and_statuses_of_one_delivery_are_all_counted_in_any_order() -> None:
    core = Core()
    calls = core.send(6)
    (block,) = sent(core)
    status = to_status(BROKEN).SerializeToString()
    size = len(block.raw[0]) // 6
    first = Reply(block.number, block.nonce, 0, 2, b"", [block.raw[0][: 2 * size]])
    last = Reply(block.number, block.nonce, 3, 3, b"", [block.raw[0][3 * size :]])
    assert core.deliver(first, Reply(block.number, block.nonce, 2, 1, b"", (), status), last) == 6
    assert ids([*calls[:2], *calls[3:]]) == ["0", "1", "3", "4", "5"]
    assert reasons(calls[2:3]) == ["INVALID_CONTENTS"]
    figures = core.statistics.of(REVISION)
    assert (figures.success.count, figures.fail.count, core.sample("nnpm_requests_total", code="CANCELLED")) == (
        5,
        1,
        0,
    )
    core.assert_balanced()


async def test_what_a_dead_worker_had_comes_back_one_by_one_as_suspects() -> None:
    core = Core()
    calls = core.send(5)
    (entry,) = core.write()
    core.scale(2)
    (block,) = core.blocks(entry)
    core.answer(block, 1, 1)
    core.cancel(calls[2])
    core.dispatch.take_back(entry, "dead")
    alone = core.write()
    assert [(each.suspect, [flight.number for flight in each.flights]) for each in alone] == [(True, [1]), (True, [4])]
    # The dead one wakes up: its answer counts, and makes room for the next suspect.
    assert core.answer(block, 3, 1) == 1
    (last,) = core.write()
    assert [flight.number for flight in last.flights] == [5]
    for each in (*alone, last):
        for one in core.blocks(each):
            core.answer(one)
    assert ids([calls[0], calls[1], *calls[3:]]) == ["0", "1", "3", "4"]
    core.assert_balanced()


async def test_a_suspect_is_not_begun_out_of_an_entry_that_was_taken_back() -> None:
    core = Core()
    core.send(1)
    (entry,) = core.write()
    core.dispatch.take_back(entry, "first")
    (lone,) = core.write()
    (block,) = core.blocks(lone)
    core.dispatch.take_back(lone, "frozen")
    (again,) = core.write()
    assert not core.dispatch.begin("frozen", block.number, block.nonce, lone.id)
    assert core.dispatch.begin("third", block.number, block.nonce, again.id)


async def test_only_the_suspect_that_its_worker_began_is_poison() -> None:
    core = Core()
    calls = core.send(3)
    (entry,) = core.write()
    core.scale(8)
    core.dispatch.take_back(entry, "first")
    lone = core.write()
    blocks = [core.blocks(each)[0] for each in lone]
    assert core.dispatch.begin("second", blocks[0].number, blocks[0].nonce)
    assert not core.dispatch.begin("second", blocks[0].number, blocks[0].nonce ^ 1)
    assert core.dispatch.begin("third", blocks[1].number, blocks[1].nonce)
    for each in lone:
        core.dispatch.take_back(each, "second")
    again = sent(core)
    assert reasons(calls[:1]) == ["POISON_REQUEST"]
    assert [block.number for block in again] == [2, 3]
    for block in again:
        core.answer(block)
    assert ids(calls[1:]) == ["1", "2"]
    assert not core.dispatch.begin("late", blocks[0].number, blocks[0].nonce)
    core.assert_balanced()


async def test_a_call_whose_client_left_unheard_while_its_worker_died_is_not_run_again() -> None:
    core = Core()
    calls = core.send(3)
    (entry,) = core.write()
    core.scale(4)
    calls[1].outcome.cancel()
    core.dispatch.take_back(entry, "dead")
    blocks = sent(core)
    assert [block.number for block in blocks] == [1, 3]
    core.cancel(calls[1])
    for block in blocks:
        core.answer(block)
    assert ids([calls[0], calls[2]]) == ["0", "2"]
    core.assert_balanced()


async def test_entries_that_did_not_reach_redis_are_written_again_in_order() -> None:
    core = Core(batch=2)
    calls = core.send(4)
    lost = core.stream.take()
    core.stream.open = False
    core.dispatch.unwritten(lost)
    assert core.stream.appended == []
    core.stream.open = True
    core.dispatch.opened()
    again = core.write()
    assert [flight.number for entry in again for flight in entry.flights] == [1, 3]
    assert core.dispatch.audit_wanted.is_set()
    for entry in again:
        core.answer(core.blocks(entry)[0])
    assert len(ids(calls)) == 4
    core.assert_balanced()


async def test_a_claimed_request_stays_here_until_it_is_answered() -> None:
    core = Core(claim_above=100)
    bodies = [echo_request(*[[n, 0, 0]] * 20, id=str(n)) for n in range(2)]
    calls = [call_of(body) for body in bodies]
    core.dispatch.take([AioCalls(list(calls))])
    one, two = sent(core)
    assert [(block.count, block.raw, block.body, block.claim_size) for block in (one, two)] == [(1, (), b"", 240)] * 2
    raw = core.dispatch.payload(one.number, one.nonce)
    assert raw == pb.ModelInferRequest.FromString(bodies[0]).raw_input_contents[0]
    core.deliver(Reply(one.number, one.nonce, 0, 1, b"", [raw]))
    for number, nonce in ((one.number, one.nonce), (two.number, two.nonce ^ 1)):
        with pytest.raises(NnpmError, match="answered, cancelled or expired"):
            core.dispatch.payload(number, nonce)
    core.cancel(calls[1])
    core.assert_balanced()


@pytest.mark.parametrize("claim_above", [10, 1 << 20])
async def test_an_odd_request_travels_as_its_body_claimed_or_not(claim_above: int) -> None:
    core = Core(claim_above=claim_above)
    body = b"\x42\x00" + echo_request(id="odd")
    call = call_of(body)
    core.dispatch.take([AioCalls([call])])
    (block,) = sent(core)
    assert (block.layout, block.raw, block.count) == (None, (), 1)
    assert (block.body or core.dispatch.payload(block.number, block.nonce)) == body
    assert block.claim_size == (len(body) if claim_above == 10 else 0)
    raw = pb.ModelInferRequest.FromString(body).raw_input_contents[0]
    core.deliver(Reply(block.number, block.nonce, 0, 1, b"", [raw]))
    assert ids([call]) == ["odd"]
    core.assert_balanced()


@pytest.mark.parametrize("timeout", [0.0, -1.0])
async def test_calls_that_arrive_expired_are_refused_and_not_queued(timeout: float) -> None:
    core = Core()
    calls = core.send(3, timeout=timeout)
    assert reasons(calls) == ["DEADLINE_EXCEEDED"] * 3
    assert core.stream.appended == []
    core.assert_balanced()


async def test_a_deadline_fails_what_is_left_of_a_block() -> None:
    core = Core()
    calls = core.send(3, timeout=0.2)
    (block,) = sent(core)
    core.answer(block, 1, 1)
    core.cancel(calls[2])
    await eventually(calls[0].outcome.done)
    assert reasons(calls[:1]) == ["DEADLINE_EXCEEDED"]
    assert core.answer(block) == 0
    core.assert_balanced()


async def test_a_deadline_rings_once_for_what_was_taken_apart_meanwhile() -> None:
    core = Core()
    calls = core.send(3, timeout=0.3)
    (entry,) = core.write()
    core.scale(8)
    core.dispatch.take_back(entry, "dead")
    core.write()
    await eventually(lambda: all(call.outcome.done() for call in calls))
    assert reasons(calls) == ["DEADLINE_EXCEEDED"] * 3
    core.assert_balanced()


async def test_calls_that_redis_did_not_take_are_told_so_before_their_deadline() -> None:
    core = Core()
    in_redis = core.send(2, timeout=0.5)
    core.write()
    core.stream.open = False
    waiting = core.send(2, timeout=0.5)
    begun = time.monotonic()
    await eventually(lambda: all(call.outcome.done() for call in waiting))
    assert time.monotonic() - begun > 0.3
    assert reasons(waiting) == ["QUEUE_UNAVAILABLE"] * 2
    await eventually(lambda: all(call.outcome.done() for call in in_redis))
    assert reasons(in_redis) == ["DEADLINE_EXCEEDED"] * 2
    core.assert_balanced()


async def test_a_deadline_that_comes_in_the_turn_of_a_cancellation_counts_it_once() -> None:
    core = Core()
    calls = core.send(2, timeout=0.2)
    core.write()
    calls[0].outcome.cancel()
    await eventually(calls[1].outcome.done)
    assert core.sample("nnpm_in_flight_calls") == 1
    core.cancel(calls[0])
    core.assert_balanced()


async def test_a_retired_revision_fails_its_calls_in_redis_and_in_memory() -> None:
    core = Core(batch=2)
    calls = core.send(4)
    core.write()
    core.stream.open = False
    calls += core.send(2)
    core.stream.open = True
    core.routes.replace(RouteTable())
    assert reasons(calls) == ["REVISION_RETIRED"] * 6
    assert core.stream.appended == []
    core.assert_balanced()


async def test_more_replicas_get_more_of_the_queue_at_once() -> None:
    core = Core(batch=64)
    core.send(300)
    written = sum(flight.live for entry in core.write() for flight in entry.flights)
    core.scale(3, batch=64)
    assert sum(flight.live for entry in core.write() for flight in entry.flights) == 300 - written > 0


async def test_draining_waits_for_the_last_answer_of_a_block() -> None:
    core = Core()
    calls = core.send(2)
    (block,) = sent(core)
    draining = asyncio.create_task(core.dispatch.drain(10))
    await asyncio.sleep(0)
    refused = core.send(1)
    assert reasons(refused) == ["SERVER_STOPPING"]
    core.answer(block, 0, 1)
    await asyncio.sleep(0)
    assert not draining.done()
    core.cancel(calls[1])
    async with asyncio.timeout(5):
        await draining
    core.assert_balanced()
