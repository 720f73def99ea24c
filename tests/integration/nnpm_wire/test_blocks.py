"""Calls are handed over in blocks: a turn's calls that say the same but for ids and tensors' bytes."""

from integration.nnpm_wire.driven import Driven, answer, numbered, reply, request
from nnpm.api.inference import inference_pb2 as pb
from nnpm_scheduler.dispatch.plain import split


def test_calls_of_a_turn_that_differ_in_ids_and_tensors_are_one_block(driven: Driven) -> None:
    channel = driven.channel()
    bodies = {f"id-{n}": request(bytes([n] * 4), f"id-{n}") for n in range(50)}
    calls = [driven.call(body, channel=channel, timeout=None) for body in bodies.values()]
    driven.held(len(calls))
    (block,) = driven.arrived(len(calls))
    assert numbered([block]) == sorted(bodies)
    assert block.header == split(bodies["id-0"]).header
    assert block.size == sum(map(len, bodies.values()))
    assert (block.method, block.metadata) == ("ModelInfer", ("", ""))
    (raw,) = block.raw()
    assert raw == b"".join(bytes([int(name.split("-")[1])] * 4) for name in block.ids())
    assert driven.deliver(reply(driven.fly(block), len(block), raw)) == len(calls)
    for n, call in enumerate(calls):
        assert (answer(call).id, answer(call).raw_output_contents) == (f"id-{n}", [bytes([n] * 4)])
    assert driven.at_rest()


def test_other_headers_metadata_and_time_outs_make_other_blocks(driven: Driven) -> None:
    channel = driven.channel()
    calls = [
        driven.call(request(), channel=channel),
        driven.call(request(model="other"), channel=channel),
        driven.call(request(b"other length"), channel=channel),
        driven.call(request(), channel=channel, timeout=90),
        driven.call(request(), channel=channel, metadata=[("tracestate", "a=b")]),
        driven.call(request(), channel=channel, metadata=[("traceparent", "00-1-1-01")]),
        driven.call(request(), channel=channel, metadata=[("traceparent", "00-1-1-01")]),
    ]
    blocks = driven.arrived(len(calls))
    assert [len(block) for block in blocks] == [1] * len(calls)
    assert sorted(block.metadata for block in blocks)[-3:] == [("", "a=b"), ("00-1-1-01", ""), ("00-1-1-01", "")]
    assert max(block.timeout or 0 for block in blocks) > 80


def test_odd_requests_come_alone_with_their_whole_body(driven: Driven) -> None:
    typed = pb.ModelInferRequest(model_name="m", id="typed")
    typed.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.0)
    bodies = [typed.SerializeToString(), b"\xff no message", b"", request(b"", "") + b"\x1a\x04late"]
    calls = [driven.call(body) for body in bodies]
    blocks = driven.arrived(len(calls))
    assert {block.body() for block in blocks} == set(bodies)
    assert [(block.header, len(block), block.raw()) for block in blocks] == [(b"", 1, [])] * len(bodies)
    assert numbered(blocks) == ["", "", "late", "typed"]


def test_a_call_without_a_time_out_has_none(driven: Driven) -> None:
    call = driven.call(request(), timeout=None)
    (block,) = driven.arrived(1)
    assert block.timeout is None
    call.cancel()


def test_a_block_is_split_and_its_parts_fly_apart(driven: Driven) -> None:
    channel = driven.channel()
    calls = [driven.call(request(bytes([n] * 4), str(n)), channel=channel, timeout=None) for n in range(9)]
    driven.held(len(calls))
    (rest,) = driven.arrived(9)
    first = rest.split(4)
    assert (len(first), len(rest), first.size, rest.size) == (4, 5, first.size, first.size * 5 // 4)
    for block in (rest, first):
        driven.deliver(reply(driven.fly(block), len(block), *block.raw()))
    assert [answer(call).raw_output_contents for call in calls] == [[bytes([n] * 4)] for n in range(9)]
