"""The ways in which a call is made: each makes one kind of call and notes what its client is told."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

import grpc.aio
import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from chaos.calls import MODEL, Request, digest, digest_of
from chaos.history import End
from chaos.runtime.nnpm_chaos_runtime import WIDTH
from chaos.statuses import DOCUMENTED
from nnpm.api.inference import inference_pb2 as pb
from nnpm.rpc.status import from_call

_SERVICE = "/inference.GRPCInferenceService/"
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),
)
_REASON = re.compile(r"\[([A-Z_]+)\]$")


class Listener(Protocol):
    """Is told how calls end."""

    def ended(self, number: int, end: End) -> None:
        """What a client was told about a call."""


class OwnClient:
    """Calls of one server, over one connection, by bare gRPC."""

    def __init__(self, address: str, listener: Listener) -> None:
        self._listener = listener
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._infer: Any = self._channel.unary_unary(
            f"{_SERVICE}ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        self._stream: Any = self._channel.stream_stream(
            f"{_SERVICE}ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )

    async def close(self) -> None:
        """Break the connection."""
        await self._channel.close()

    async def unary(self, request: Request, timeout: float, *, model: str = MODEL) -> None:
        """One ModelInfer."""
        try:
            response = await self._infer(request.message(model), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            self._failed([request.number], error)
        else:
            self._answered(request.number, response)

    async def cancelled(self, request: Request, timeout: float, after: float) -> None:
        """One ModelInfer that its client gives up after so many seconds, if it has not ended by then."""
        call = self._infer(request.message(), timeout=timeout)
        waiting = asyncio.ensure_future(_outcome(call))
        await asyncio.wait((waiting,), timeout=after)
        call.cancel()
        outcome = await waiting
        if isinstance(outcome, pb.ModelInferResponse):
            self._answered(request.number, outcome)
        elif outcome is None:
            self._listener.ended(request.number, End(time.monotonic(), "CANCELLED", "CALL_CANCELLED"))
        else:
            self._failed([request.number], outcome)

    async def stream(self, requests: Sequence[Request], timeout: float) -> None:
        """All of them over one ModelStreamInfer; what comes twice is noted twice."""
        open_ones = {request.number for request in requests}

        async def messages() -> AsyncIterator[pb.ModelInferRequest]:
            for request in requests:
                yield request.message()

        try:
            async for response in self._stream(messages(), timeout=timeout):
                number = int(response.infer_response.id or -1)
                open_ones.discard(number)
                self._streamed(number, response)
        except grpc.aio.AioRpcError as error:
            self._failed(sorted(open_ones), error)

    async def partly_cancelled(
        self, requests: Sequence[Request], doomed: Sequence[int], timeout: float, *, after: float
    ) -> float:
        """All of them over one ModelStreamInfer; the doomed are cancelled so many seconds later: when that was.

        A request that is cancelled has no answer, unless that was under way.
        """
        call = self._stream(metadata=(("nnpm-stream-order", "completion"),), timeout=timeout)
        open_ones = {request.number for request in requests}
        at = 0.0
        try:
            for request in requests:
                await call.write(request.message())
            await asyncio.sleep(after)
            await _cancel(call, doomed)
            at = time.monotonic()
            while (response := await call.read()) is not grpc.aio.EOF:
                number = int(response.infer_response.id or -1)
                open_ones.discard(number)
                self._streamed(number, response)
        except grpc.aio.AioRpcError as error:
            self._failed(sorted(open_ones), error)
        else:
            for number in open_ones & set(doomed):
                self._listener.ended(number, End(time.monotonic(), "CANCELLED", "CALL_CANCELLED"))
        return at

    def _streamed(self, number: int, response: pb.ModelStreamInferResponse) -> None:
        if response.error_message:
            self._listener.ended(number, _from_text(response.error_message))
        else:
            self._answered(number, response.infer_response)

    def _answered(self, number: int, response: pb.ModelInferResponse) -> None:
        self._listener.ended(number, End(time.monotonic(), "OK", "", digest_of(number, response)))

    def _failed(self, numbers: Sequence[int], error: grpc.aio.AioRpcError) -> None:
        told = from_call(error)
        for number in numbers:
            self._listener.ended(number, End(time.monotonic(), told.code, told.reason))


class ForeignClient:
    """Calls by Triton's client library."""

    def __init__(self, address: str, listener: Listener) -> None:
        self._listener = listener
        self._client = triton.InferenceServerClient(address, channel_args=_OPTIONS)

    async def close(self) -> None:
        """Break the connection."""
        await self._client.close()

    async def call(self, request: Request, timeout: float) -> None:
        """One call."""
        given = triton.InferInput("x", [request.rows, WIDTH], "INT64")
        given.set_data_from_numpy(np.frombuffer(request.raw, np.int64).reshape(-1, WIDTH))
        number = request.number
        try:
            result = await self._client.infer(MODEL, [given], request_id=str(number), client_timeout=timeout)
        except InferenceServerException as error:
            code = str(error.status() or "UNKNOWN").removeprefix("StatusCode.")
            self._listener.ended(number, End(time.monotonic(), code))
            return
        tensors = digest(result.as_numpy("y").tobytes())
        own = result.get_response().id == str(number)
        self._listener.ended(number, End(time.monotonic(), "OK", "", tensors if own else "of another call"))


async def _cancel(call: Any, numbers: Iterable[int]) -> None:
    """Cancel these, and send nothing more."""
    for number in numbers:
        message = pb.ModelInferRequest(model_name=MODEL)
        message.parameters["nnpm_cancel"].string_param = str(number)
        await call.write(message)
    await call.done_writing()


async def _outcome(call: Any) -> Any:
    """The answer, the error, or None when this client has cancelled it."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return error
    except asyncio.CancelledError:
        return None


def _from_text(text: str) -> End:
    """What a stream says of one of its calls: a message that ends with the reason."""
    found = _REASON.search(text)
    reason = found[1] if found else ""
    return End(time.monotonic(), DOCUMENTED.get(reason, "UNKNOWN"), reason)
