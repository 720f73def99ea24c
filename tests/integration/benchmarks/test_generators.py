"""Both generators against a server that counts: every request arrives once, and those of a mixed run differ."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from benchmarks import h2load, varied
from benchmarks.bodies import body_file
from benchmarks.load_run import LoadError, Target
from benchmarks.models import all_models
from nnpm.api.inference import inference_pb2
from support.ports import free_port
from support.tools import tool

INFER = "/inference.GRPCInferenceService/ModelInfer"


class Recorder(grpc.GenericRpcHandler):
    """Keeps every request; refuses those for the model `refused`."""

    def __init__(self) -> None:
        self.requests: list[inference_pb2.ModelInferRequest] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def record(message: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            request = inference_pb2.ModelInferRequest.FromString(message)
            self.requests.append(request)
            if request.model_name == "refused":
                await context.abort(grpc.StatusCode.INTERNAL, "no")
            return message

        return grpc.unary_unary_rpc_method_handler(record)


@pytest.fixture
def recorder() -> Iterator[tuple[Recorder, str]]:
    """A grpc.aio server in a thread, and its address."""
    handler, port = Recorder(), free_port()
    loop = asyncio.new_event_loop()

    async def start() -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        return server

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    yield handler, f"127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


def test_every_mixed_request_has_its_own_id_and_one_of_eight_shapes(
    recorder: tuple[Recorder, str], tmp_path: Path
) -> None:
    handler, address = recorder
    body = body_file(tmp_path, all_models()["tiny"], served_as="tiny", mixed=True)
    load = varied.run(
        tool("nnpm-load"), Target(f"http://{address}{INFER}", body), requests=400, in_flight=32, timeout=60
    )
    assert len(load.latencies) == 400
    assert {request.id for request in handler.requests} == {f"request-{number:08}" for number in range(400)}
    rows = [request.inputs[0].shape[0] for request in handler.requests]
    assert {count: rows.count(count) for count in range(1, 9)} == dict.fromkeys(range(1, 9), 50)


def test_bodies_above_every_window_arrive_whole(recorder: tuple[Recorder, str], tmp_path: Path) -> None:
    handler, address = recorder
    model = all_models()["conv"]
    body = body_file(tmp_path, model, served_as="conv")
    varied.run(tool("nnpm-load"), Target(f"http://{address}{INFER}", body), requests=12, in_flight=4, timeout=60)
    assert [request.raw_input_contents[0] for request in handler.requests] == [model.rows(1).tobytes()] * 12


def test_a_grpc_error_is_no_success_though_http_says_200(recorder: tuple[Recorder, str], tmp_path: Path) -> None:
    _, address = recorder
    body = body_file(tmp_path, all_models()["tiny"], served_as="refused")
    with pytest.raises(LoadError, match="of 8 requests 0 succeeded"):
        varied.run(tool("nnpm-load"), Target(f"http://{address}{INFER}", body), requests=8, in_flight=2, timeout=60)


def test_h2load_sends_each_request_once(recorder: tuple[Recorder, str], tmp_path: Path) -> None:
    tool("h2load")
    handler, address = recorder
    body = body_file(tmp_path, all_models()["tiny"], served_as="tiny")
    load = h2load.run(Target(f"http://{address}{INFER}", body), requests=300, in_flight=16, timeout=60)
    assert len(load.latencies) == len(handler.requests) == 300
    assert load.latencies == sorted(load.latencies)
