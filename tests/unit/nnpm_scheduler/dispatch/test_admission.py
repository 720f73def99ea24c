"""What a block's header leads to is remembered, but never for longer than it is true."""

import time

import pytest

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import NnpmError
from nnpm_scheduler.dispatch.admission import MOST_REMEMBERED, Admission
from nnpm_scheduler.dispatch.calls_aio import AioCalls
from nnpm_scheduler.dispatch.routes import REPLICAS_RETURN, Routes, RouteTable
from support.core import call_of
from support.front import echo_request, revision, table, with_ready


@pytest.fixture
def routes() -> Routes:
    served = Routes()
    served.replace(table(revision()))
    return served


def block(body: bytes) -> AioCalls:
    return AioCalls([call_of(body)])


def reason(admission: Admission, body: bytes) -> str:
    with pytest.raises(NnpmError) as refused:
        admission.admit(block(body))
    return refused.value.reason


async def test_a_known_header_is_not_read_again(routes: Routes) -> None:
    admission = Admission(routes)
    first = admission.admit(block(echo_request([1, 2, 3], id="a")))
    assert admission.admit(block(echo_request([4, 5, 6], id="b"))) is first
    assert first.layout is not None
    assert (first.layout.size, first.layout.inputs[0].shape) == (12, (1, 3))
    assert admission.admit(block(echo_request([1, 2, 3], [4, 5, 6]))) is not first


async def test_a_header_is_forgotten_when_the_table_changes(routes: Routes) -> None:
    admission = Admission(routes)
    assert admission.admit(block(echo_request())).route.id == "acme-echo.1"
    routes.replace(table(revision(number=2)))
    assert admission.admit(block(echo_request())).route.id == "acme-echo.2"
    routes.replace(RouteTable())
    assert reason(admission, echo_request()) == "MODEL_NOT_FOUND"
    assert not admission._signatures


async def test_a_revision_that_lost_its_last_replica_takes_calls_for_ten_seconds_and_no_longer(
    routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission = Admission(routes)
    admission.admit(block(echo_request()))
    routes.replace(table(with_ready(revision(), 0)))
    assert admission.admit(block(echo_request())).route.ready == 0
    later = time.monotonic() + REPLICAS_RETURN + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert reason(admission, echo_request()) == "MODEL_NOT_READY"


async def test_what_was_refused_is_looked_at_anew(routes: Routes) -> None:
    admission = Admission(routes)
    assert reason(admission, echo_request(model="late")) == "MODEL_NOT_FOUND"
    routes.replace(table(revision("late"), name="late"))
    assert admission.admit(block(echo_request(model="late"))).route.id == "late.1"


async def test_an_odd_request_travels_whole_and_is_not_remembered(routes: Routes) -> None:
    admission = Admission(routes)
    request = pb.ModelInferRequest.FromString(echo_request())
    raw = request.raw_input_contents.pop()
    odd = pb.ModelInferRequest(raw_input_contents=[raw]).SerializeToString() + request.SerializeToString()
    assert pb.ModelInferRequest.FromString(odd) == pb.ModelInferRequest.FromString(echo_request())
    calls = block(odd)
    assert calls.header == b""
    admitted = admission.admit(calls)
    assert (admitted.route.id, admitted.layout) == ("acme-echo.1", None)
    assert not admission._admitted


async def test_headers_are_remembered_in_bounded_number(routes: Routes) -> None:
    admission = Admission(routes)
    for rows in range(1, MOST_REMEMBERED + 100):
        request = pb.ModelInferRequest(model_name="acme-echo", raw_input_contents=[bytes(12 * rows)])
        request.inputs.add(name="x", datatype="FP32", shape=[rows, 3])
        admission.admit(block(request.SerializeToString()))
    assert len(admission._admitted) == MOST_REMEMBERED
