"""What is written by hand is what protobuf writes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.errors import NotFound
from nnpm.rpc.status import to_status
from nnpm_worker.messages import Answer, deliver_request

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
STATUS = to_status(NotFound("CLAIM_NOT_FOUND", "gone")).SerializeToString()


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    base = draw(U64), draw(U64), draw(U32), draw(U32), draw(U64)
    if draw(st.booleans()):
        return Answer(*base, status=STATUS)
    return Answer(*base, head=draw(st.binary()), raw=draw(st.lists(st.binary(max_size=300), max_size=3)))


@given(st.text(), st.text(), st.text(), st.lists(answers(), max_size=5), st.none() | U32)
def test_protobuf_reads_what_was_written(
    worker: str, scheduler: str, revision: str, given: list[Answer], rows: int | None
) -> None:
    figures = None if rows is None else wire.BatchFigures(requests=1, rows=rows)
    message = b"".join(deliver_request(worker, scheduler, revision, given, figures))
    expected = wire.DeliverRequest(worker=worker, scheduler=scheduler, revision=revision, figures=figures)
    for answer in given:
        reply = expected.replies.add(number=answer.number, nonce=answer.nonce, offset=answer.offset, count=answer.count)
        reply.queue_ns, reply.final = answer.queue_ns, True
        if answer.status:
            reply.status.ParseFromString(answer.status)
        else:
            reply.head = answer.head
            reply.raw.extend(answer.raw)
    assert wire.DeliverRequest.FromString(message) == expected


def test_tensors_are_not_copied() -> None:
    array = np.arange(1000, dtype=np.float32)
    parts = deliver_request("w", "s", "r", [Answer(1, 2, 0, 1, 3, b"head", [array.view(np.uint8).data])], None)
    assert any(isinstance(part, memoryview) and np.shares_memory(np.asarray(part), array) for part in parts)
