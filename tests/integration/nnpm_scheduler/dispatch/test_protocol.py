"""The Open Inference Protocol as Triton's own client speaks it, over a data path without control."""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.inference import inference_pb2_grpc
from nnpm.errors import NnpmError
from nnpm.rpc.status import from_call
from nnpm_scheduler.dispatch.routes import DeploymentRoute, RouteTable
from support.front import Answer, Asked, Front, HandWorker, echo, echo_request, revision, running_front, table
from support.waiting import eventually


@pytest.fixture
async def front(redis_url: str) -> AsyncIterator[Front]:
    async with running_front(redis_url) as running, HandWorker(running):
        yield running


async def by_triton(front: Front, use: Callable[[triton.InferenceServerClient], object]) -> object:
    def run() -> object:
        with triton.InferenceServerClient(front.address) as client:
            return use(client)

    return await asyncio.to_thread(run)


def rows(*values: float) -> list[triton.InferInput]:
    tensor = triton.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(np.array([values], dtype=np.float32))
    return [tensor]


async def test_liveness_readiness_and_metadata(front: Front) -> None:
    def use(client: triton.InferenceServerClient) -> None:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("acme-echo")
        assert client.is_model_ready("acme/echo", "1.0.0")
        assert not client.is_model_ready("acme-echo", "9.9.9")
        assert not client.is_model_ready("unknown")
        assert client.get_server_metadata().name == "nnpm"
        metadata = client.get_model_metadata("acme/echo@^1.0.0")
        assert (metadata.name, list(metadata.versions)) == ("acme/echo@^1.0.0", ["1.0.0"])
        assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("x", "FP32", [-1, 3])]
        config = client.get_model_config("acme-echo").config
        assert (config.max_batch_size, list(config.input[0].dims), config.input[0].data_type) == (16, [3], 11)

    await by_triton(front, use)


async def test_infer_by_deployment_package_and_range_repeats_the_name_that_was_asked(front: Front) -> None:
    def use(client: triton.InferenceServerClient) -> None:
        for name in ("acme-echo", "acme/echo", "acme/echo@>= 1"):
            result = client.infer(name, rows(1, 2, 3), request_id="a")
            assert (result.get_response().model_name, result.get_response().model_version) == (name, "1.0.0")
            assert result.as_numpy("y").tolist() == [[1, 2, 3]]

    await by_triton(front, use)


async def test_async_infer_calls_back(front: Front) -> None:
    def use(client: triton.InferenceServerClient) -> None:
        answers: queue.Queue[tuple[object, object]] = queue.Queue()
        for n in range(20):
            client.async_infer("acme-echo", rows(n, 0, 0), lambda result, error: answers.put((result, error)))
        got = [answers.get(timeout=10) for _ in range(20)]
        assert all(error is None for _, error in got)
        assert {result.as_numpy("y")[0, 0] for result, _ in got} == set(range(20))  # type: ignore[attr-defined]

    await by_triton(front, use)


async def test_a_stream_answers_in_order_and_carries_errors_as_messages(front: Front) -> None:
    def use(client: triton.InferenceServerClient) -> None:
        answers: queue.Queue[tuple[object, object]] = queue.Queue()
        client.start_stream(lambda result, error: answers.put((result, error)))
        for n in range(30):
            name = "unknown" if n % 10 == 3 else "acme-echo"
            client.async_stream_infer(name, rows(n, 0, 0), request_id=str(n))
        got = [answers.get(timeout=10) for _ in range(30)]
        client.stop_stream()
        for n, (result, error) in enumerate(got):
            if n % 10 == 3:
                assert "MODEL_NOT_FOUND" in str(error)
            else:
                assert result.as_numpy("y")[0, 0] == n  # type: ignore[attr-defined]

    await by_triton(front, use)


async def test_an_error_in_a_stream_names_its_request(front: Front) -> None:
    async with front.channel() as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        bad = pb.ModelInferRequest.FromString(echo_request(model="acme-echo", id="bad"))
        bad.inputs[0].datatype = "INT8"
        answers = [answer async for answer in stub.ModelStreamInfer(iter([bad]), timeout=10)]
        assert [(answer.infer_response.id, "WRONG_DATATYPE" in answer.error_message) for answer in answers] == [
            ("bad", True)
        ]


async def test_a_broken_stream_takes_its_calls_out_of_the_queue(redis_url: str) -> None:
    async with running_front(redis_url) as front, front.channel() as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = stub.ModelStreamInfer(timeout=30)
        for n in range(5):
            await stream.write(pb.ModelInferRequest.FromString(echo_request(id=str(n))))
        await eventually(lambda: front.calls() == 5)
        stream.cancel()
        await eventually(front.at_rest)


async def test_statistics_count_what_was_run_for_each_version(front: Front) -> None:
    def use(client: triton.InferenceServerClient) -> None:
        for _ in range(5):
            client.infer("acme-echo", rows(1, 2, 3))
        with pytest.raises(InferenceServerException):
            client.infer("acme-echo", rows(1, 2, 3), model_version="7.7.7")
        (stats,) = client.get_inference_statistics("acme-echo").model_stats
        assert (stats.name, stats.version) == ("acme-echo", "1.0.0")
        assert (stats.inference_count, stats.inference_stats.success.count, stats.inference_stats.fail.count) == (
            5,
            5,
            0,
        )
        assert stats.execution_count == 5
        assert stats.inference_stats.compute_infer.ns == 5 * 2_000
        assert stats.inference_stats.queue.ns > 0
        assert [(b.batch_size, b.compute_infer.count) for b in stats.batch_stats] == [(1, 5)]
        assert len(client.get_inference_statistics().model_stats) == 1
        with pytest.raises(InferenceServerException, match="no deployment"):
            client.get_inference_statistics("unknown")

    await by_triton(front, use)


async def test_the_index_lists_deployments_with_versions_and_state(front: Front) -> None:
    echo_route = revision()
    loading = revision("acme-slow", version="0.1.0", ready=0)
    front.routes.replace(
        RouteTable(
            (
                DeploymentRoute("acme-echo", "acme/echo", (echo_route,)),
                DeploymentRoute("acme-slow", "acme/slow", (loading,)),
                DeploymentRoute("acme-off", "acme/off", (), paused=True),
            )
        )
    )

    def use(client: triton.InferenceServerClient) -> None:
        lines = [(m.name, m.version, m.state) for m in client.get_model_repository_index().models]
        assert lines == [
            ("acme-echo", "1.0.0", "READY"),
            ("acme-slow", "0.1.0", "LOADING"),
            ("acme-off", "", "UNAVAILABLE"),
        ]

    await by_triton(front, use)


async def test_load_and_unload_take_both_numberings(front: Front) -> None:
    def use(client: triton.InferenceServerClient) -> None:
        client.load_model("acme-echo")
        client.unload_model("acme-echo")

    await by_triton(front, use)
    async with front.channel() as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        kserve = pb.RepositoryModelLoadRequest(repository_name="acme/other")
        answer = await stub.RepositoryModelLoad(kserve, timeout=5)
        assert (answer.model_name, answer.isLoaded) == ("acme/other", True)
    assert front.repository.calls == [("load", "acme-echo"), ("unload", "acme-echo"), ("load", "acme/other")]


async def test_other_rpcs_of_triton_are_unimplemented(front: Front) -> None:
    def use(client: triton.InferenceServerClient) -> None:
        with pytest.raises(InferenceServerException) as refused:
            client.get_system_shared_memory_status()
        assert "UNIMPLEMENTED" in str(refused.value.status())

    await by_triton(front, use)


@pytest.mark.parametrize(
    ("spoil", "reason", "says"),
    [
        (lambda r: r.inputs[0].__setattr__("name", "z"), "UNKNOWN_INPUT", "'z'"),
        (lambda r: r.inputs[0].__setattr__("datatype", "INT64"), "WRONG_DATATYPE", "wanted FP32, got 'INT64'"),
        (lambda r: r.inputs[0].shape.__setitem__(1, 4), "WRONG_SHAPE", "wanted shape [-1, 3], got shape [1, 4]"),
        (lambda r: r.inputs[0].shape.__setitem__(0, -1), "INVALID_SHAPE", "got shape [-1, 3]"),
        (lambda r: r.inputs[0].shape.__setitem__(0, 2**62), "INVALID_SHAPE", "elements that fit a message"),
        (lambda r: r.raw_input_contents.__setitem__(0, b"1"), "TENSOR_SIZE_MISMATCH", "wanted 12 bytes"),
        (lambda r: r.outputs.add(name="w"), "UNKNOWN_OUTPUT", "'w'"),
        (lambda r: r.__setattr__("model_version", "3.0.0"), "VERSION_NOT_SERVED", "served versions: 1.0.0"),
        (lambda r: r.__setattr__("model_name", "nobody/nothing"), "MODEL_NOT_FOUND", "'nobody/nothing'"),
    ],
)
async def test_a_request_that_does_not_fit_is_refused_before_it_is_queued(
    front: Front, spoil: Callable[[pb.ModelInferRequest], None], reason: str, says: str
) -> None:
    request = pb.ModelInferRequest.FromString(echo_request())
    spoil(request)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await front.infer(request.SerializeToString())
    error: NnpmError = from_call(refused.value)
    assert (error.reason, says in error.message) == (reason, True), error.message


async def test_bytes_that_are_no_protobuf_are_malformed(front: Front) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await front.infer(b"\xff\xff\xff")
    error = from_call(refused.value)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")


async def test_a_call_keeps_the_revision_it_was_admitted_to(redis_url: str) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(asked: Asked) -> Answer:
        started.set()
        await release.wait()
        return await echo(asked)

    async with running_front(redis_url) as front, HandWorker(front, slow), HandWorker(front, echo, "acme-echo.2"):
        before = asyncio.create_task(front.infer(echo_request(id="before")))
        async with asyncio.timeout(5):
            await started.wait()
        old = revision()
        new = revision(number=2, version="2.0.0")
        front.routes.replace(table(old, new))
        assert pb.ModelInferResponse.FromString(await front.infer(echo_request(id="after"))).id == "after"
        assert (front.dispatch.outstanding("acme-echo.1"), before.done()) == (1, False)
        release.set()
        assert pb.ModelInferResponse.FromString(await before).id == "before"
        assert front.dispatch.outstanding("acme-echo.1") == 0
