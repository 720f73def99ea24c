"""The load, against servers that keep the protocol and servers that break it: each breach shows in what clients saw."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc
import numpy as np
import pytest

from chaos.checker import judge
from chaos.history import History
from chaos.load import Load, Mix
from chaos.runtime.nnpm_chaos_runtime import WIDTH, answer
from nnpm.api.inference import inference_pb2 as pb

MIX = Mix(streams=100, foreign=300, cancelled=100, hasty=0, quick=0, large=0, never=0)


class Server:
    """Answers as the model under chaos does, or not quite."""

    def __init__(self, breach: str) -> None:
        self._breach = breach

    async def infer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        if self._breach == "undocumented":
            await context.abort(grpc.StatusCode.DATA_LOSS, "what?")
        return self._answer(request)

    async def stream(self, requests: AsyncIterator[pb.ModelInferRequest], _context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            response = pb.ModelStreamInferResponse(infer_response=self._answer(request))
            if self._breach != "lost":
                yield response
            if self._breach == "twice":
                yield response

    def _answer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        x = np.frombuffer(request.raw_input_contents[0], np.int64).reshape(-1, WIDTH)
        y = answer(x)
        if self._breach == "wrong":
            y[-1, -1] += 1
        response = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
        response.outputs.add(name="y", datatype="INT64", shape=list(x.shape))
        response.raw_output_contents.append(y.tobytes())
        return response


@asynccontextmanager
async def serving(breach: str) -> AsyncIterator[str]:
    """The server's address."""
    behaviour, server = Server(breach), grpc.aio.server()
    handlers = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(
            behaviour.infer,
            request_deserializer=pb.ModelInferRequest.FromString,
            response_serializer=pb.ModelInferResponse.SerializeToString,
        ),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            behaviour.stream,
            request_deserializer=pb.ModelInferRequest.FromString,
            response_serializer=pb.ModelStreamInferResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def loaded(breach: str) -> History:
    """What came of a second of load."""
    history = History()
    async with serving(breach) as address:
        load = Load({address: address}, history, Random(1), rate=80.0, mix=MIX)
        try:
            await load.run(1.0, time.monotonic())
        finally:
            await load.close()
    return history


async def test_nothing_is_found_with_a_server_that_keeps_the_protocol() -> None:
    history = await loaded("")
    assert not judge(history)
    assert {call.kind for call in history.calls.values()} == {"unary", "stream", "foreign", "cancelled"}
    assert len(history.calls) > 80


@pytest.mark.parametrize(
    ("breach", "invariant", "kinds"),
    [
        ("wrong", 2, {"unary", "stream", "foreign"}),
        ("twice", 1, {"stream"}),
        ("lost", 1, {"stream"}),
        ("undocumented", 0, {"unary", "foreign"}),
    ],
)
async def test_a_breach_is_found_in_every_kind_of_call_that_shows_it(
    breach: str, invariant: int, kinds: set[str]
) -> None:
    async with asyncio.timeout(60):
        history = await loaded(breach)
    found = [violation.text for violation in judge(history) if violation.invariant == invariant]
    for kind in kinds:
        assert any(f"({kind})" in text for text in found), (kind, found)
