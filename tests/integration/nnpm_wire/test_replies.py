"""A worker's reply reaches its calls, and nobody else's, without Python."""

import grpc
import pytest
from google.rpc import status_pb2

from integration.nnpm_wire.driven import HEAD, Driven, answer, reply, request
from nnpm.api.worker.v1 import worker_pb2 as wire


def test_a_reply_is_taken_once_and_told_to_python(driven: Driven) -> None:
    call = driven.call(request(id="a"))
    (block,) = driven.arrived(1)
    number = driven.fly(block)
    assert driven.deliver(reply(number, 1, b"one", b"")) == 1
    assert driven.deliver(reply(number, 1, b"two", b"")) == 0
    assert answer(call).raw_output_contents == [b"one", b""]
    driven.until(lambda: len(driven.delivered) == 2)
    first, second = driven.delivered
    assert (first.worker, first.revision, first.figures) == ("w", "r", (1, 2, 3, 4, 5))
    assert first.replies == [(number, 0, 1, 1, 11, None)]
    assert first.sent == len(call.result())
    assert second.replies == [(number, 0, 1, 0, 11, None)]


def test_who_has_not_read_the_entry_cannot_answer_it(driven: Driven) -> None:
    call = driven.call(request())
    (block,) = driven.arrived(1)
    number = driven.fly(block, nonce=2**64 - 1)
    assert driven.deliver(reply(number, 1, b"forged", nonce=5), reply(number + 1, 1, b"astray")) == 0
    assert driven.deliver(reply(number, 1, b"true", nonce=2**64 - 1)) == 1
    assert answer(call).raw_output_contents == [b"true"]
    driven.until(lambda: len(driven.delivered) == 2)
    assert driven.delivered[0].replies == []


def test_a_reply_beyond_the_block_answers_nothing(driven: Driven) -> None:
    call = driven.call(request())
    (block,) = driven.arrived(1)
    number = driven.fly(block)
    beyond = [reply(number, 2, b"ab"), reply(number, 2**32 - 1, b""), reply(number, 1, b"", offset=2**32 - 1)]
    assert driven.deliver(*beyond) == 0
    assert driven.deliver(reply(number, 1, b"x")) == 1
    assert answer(call).raw_output_contents == [b"x"]


def test_a_status_is_pythons_to_decide_about(driven: Driven) -> None:
    call = driven.call(request())
    (block,) = driven.arrived(1)
    number, status = driven.fly(block), status_pb2.Status(code=14, message="put back")
    failed = wire.Reply(number=number, nonce=7, count=1, status=status)
    stale = wire.Reply(number=number, nonce=8, count=1, status=status)
    assert driven.deliver(failed, stale) == 0
    driven.until(lambda: bool(driven.delivered))
    ((_, _, _, answered, _, serialised),) = driven.delivered[0].replies
    assert (answered, serialised) == (0, status.SerializeToString())
    assert block.fail(14, "no: «ümlaut» 100%\n", b"\x00\xff", "unused") == 1
    assert block.fail(14, "again", b"", "") == 0
    assert call.exception().code() is grpc.StatusCode.UNAVAILABLE
    assert call.exception().details() == "no: «ümlaut» 100%\n"
    assert ("grpc-status-details-bin", b"\x00\xff") in call.exception().trailing_metadata()
    assert driven.at_rest()


def test_replies_for_another_process_and_no_messages_are_refused(driven: Driven) -> None:
    other = wire.DeliverRequest(scheduler="gone").SerializeToString()
    assert driven.ask("Deliver", other) == (9, "refused: wrong_scheduler", [])
    assert driven.ask("Deliver", b"\xff\xff") == (9, "refused: malformed", [])
    assert driven.ask("RedeemPayload", b"\x08") == (9, "refused: malformed", [])


def test_a_block_taken_apart_is_answered_piece_by_piece(driven: Driven) -> None:
    channel = driven.channel()
    calls = [driven.call(request(bytes([n]), str(n)), channel=channel, timeout=None) for n in range(4)]
    driven.held(4)
    (block,) = driven.arrived(4)
    order = [int(name) for name in block.ids()]
    number = driven.fly(block)
    assert driven.deliver(reply(number, 1, b"b", offset=1)) == 1
    assert block.live() == [0, 2, 3]
    singles = {offset: block.single(offset) for offset in block.live()}
    assert block.live() == []
    assert [(len(single), single.raw()) for single in singles.values()] == [(1, [bytes([order[o]])]) for o in singles]
    del block
    driven.blocks.clear()
    assert driven.deliver(reply(number + 2, 1, b"c")) == 1  # one of them, run as a suspect
    assert driven.deliver(reply(number, 4, b"abcd")) == 2  # the worker that was thought dead
    got = {order.index(n): answer(call).raw_output_contents for n, call in enumerate(calls)}
    assert got == {0: [b"a"], 1: [b"b"], 2: [b"c"], 3: [b"d"]}
    assert driven.at_rest()


def test_replies_that_came_another_way_are_composed_alike(driven: Driven) -> None:
    call = driven.call(request(id="x" * 200))
    (block,) = driven.arrived(1)
    assert block.answer(0, 1, HEAD, [memoryview(b"abc"), b"d" * 300]) == 1
    assert (answer(call).id, answer(call).raw_output_contents) == ("x" * 200, [b"abc", b"d" * 300])


@pytest.mark.parametrize("size", [0, 16_000, 17_000, 5 << 20])
def test_replies_of_every_size_arrive_whole(driven: Driven, size: int) -> None:
    channel = driven.channel()
    calls = [driven.call(request(bytes([n]), str(n)), channel=channel, timeout=None) for n in range(3)]
    driven.held(3)
    (block,) = driven.arrived(3)
    parts = {name: bytes([int(name)]) * size for name in block.ids()}
    assert driven.deliver(reply(driven.fly(block), 3, b"".join(parts.values()), b"123")) == 3
    for call in calls:
        assert answer(call).raw_output_contents[0] == parts[answer(call).id]
    driven.until(driven.at_rest)


def test_a_claims_bytes_are_streamed_to_who_read_the_entry(driven: Driven) -> None:
    whole, tensor = request(b"t" * 3_000_000), b"u" * 2_500_000
    calls = [driven.call(whole), driven.call(request(tensor, "raw"))]
    by_size = {block.size: block for block in driven.arrived(2)}
    first, second = by_size[len(whole)], by_size[min(by_size)]
    first.claimable(True)
    second.claimable(False)
    numbers = [driven.fly(first), driven.fly(second)]
    assert driven.redeem(numbers[0], 7) == whole
    assert driven.redeem(numbers[1], 7) == tensor
    assert driven.redeem(numbers[0], 8) == "refused: claim_not_found"
    driven.deliver(*[reply(number, 1) for number in numbers])
    assert driven.redeem(numbers[0], 7) == "refused: claim_not_found"
    assert [answer(call).model_name for call in calls] == ["m", "m"]
