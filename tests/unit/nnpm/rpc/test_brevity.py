"""However much an error quotes of what a caller sent, its status arrives."""

from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpm.api.mesh.v1 import trace_pb2, trace_pb2_grpc
from nnpm.errors import FieldViolation, InvalidArgument
from nnpm.rpc.brevity import encoded_size, shorten
from nnpm.rpc.status import DETAILS_KEY, from_call, to_status

SOFT_LIMIT = 8_192
"""gRPC's GRPC_ARG_MAX_METADATA_SIZE: above it calls are dropped at random, above twice of it always."""


@pytest.mark.parametrize("letter", ["a", "%", "ü", "語", "\n", "🚀"])
async def test_an_error_that_quotes_a_hundred_thousand_letters_arrives_with_its_reason(
    bare_channel: grpc.aio.Channel, traces: Any, letter: str
) -> None:
    long = letter * 100_000
    violations = [FieldViolation(long, long)] * 50
    traces.error = InvalidArgument("MALFORMED_REQUEST", long, hint=long, metadata={"a": long}, violations=violations)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trace_pb2_grpc.TraceServiceStub(bare_channel).GetTrace(trace_pb2.GetTraceRequest())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_call(caught.value)
    assert error.reason == "MALFORMED_REQUEST"
    assert error.message.startswith(letter * 100)
    assert error.message.endswith("...")
    assert error.hint.startswith(letter * 10)
    assert error.violations[0].description.startswith(letter * 10)


@given(
    message=st.text(max_size=9_000),
    hint=st.text(max_size=3_000),
    metadata=st.dictionaries(st.sampled_from(["model", "wanted", "got", "served"]), st.text(max_size=3_000)),
    violations=st.lists(st.builds(FieldViolation, st.text(max_size=900), st.text(max_size=900)), max_size=9),
)
def test_every_status_fits_the_metadata_that_a_peer_always_takes(
    message: str, hint: str, metadata: dict[str, str], violations: list[FieldViolation]
) -> None:
    error = InvalidArgument("MALFORMED_REQUEST", message, hint=hint, metadata=metadata, violations=violations)
    status = to_status(error)
    in_details = len(DETAILS_KEY) + 32 + (len(status.SerializeToString()) + 2) // 3 * 4
    in_message = len("grpc-message") + 32 + encoded_size(status.message)
    assert in_details + in_message < SOFT_LIMIT - 256


@given(st.text(max_size=60), st.integers(min_value=3, max_value=100))
def test_text_is_cut_only_when_it_must_be_and_never_inside_a_letter(text: str, most: int) -> None:
    short = shorten(text, most)
    assert encoded_size(short) <= most
    assert short == text or (short.endswith("...") and text.startswith(short.removesuffix("...")))
    assert (short == text) == (encoded_size(text) <= most) or text.endswith("...")
