"""Load and Unload: what becomes ready, what is refused, whose commands count."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.queue.keys import GROUP, requests_key
from nnpm.rpc.status import from_status
from support import models
from support.processes import Process, resident_bytes, wait_healthy
from support.reference import Reference, differences
from support.scheduler_double import Connected, SchedulerDouble
from support.waiting import eventually

LINEAR = [("x", "FP32", (-1, 4)), ("y", "FP32", (-1, 3))]
ONE = [("x", "FP32", (-1, 1)), ("y", "FP32", (-1, 1))]
FILES = {"model.onnx": models.linear().SerializeToString()}


@pytest.fixture
async def worker(scheduler: SchedulerDouble, start_worker: Callable[..., Process]) -> Connected:
    start_worker()
    return await scheduler.worker()


def unload(revision: str, token: int = 1) -> wire.SessionResponse:
    return wire.SessionResponse(unload=wire.Unload(fencing_token=token, revision=revision))


async def failure(scheduler: SchedulerDouble, worker: Connected, revision: str) -> tuple[str, str, str]:
    error = from_status((await scheduler.state(worker, revision, "FAILED")).error)
    return error.code, error.reason, error.message


async def test_a_load_is_reported_at_every_step_with_what_was_found_out(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    status = await scheduler.serve(worker, FILES, LINEAR, "a")
    assert [wire.ModelState.Name(s.state)[12:] for s in worker.statuses] == ["FETCHING", "LOADING", "READY"]
    assert status.batched
    assert status.max_batch_size == 64
    assert status.memory_bytes >= len(FILES["model.onnx"])
    assert list(status.providers) == ["CPUExecutionProvider"]
    groups = await scheduler.redis.xinfo_groups(requests_key("a"))
    assert [group["name"] for group in groups] == [GROUP.encode()]


@pytest.mark.parametrize(
    ("model", "manifest", "batched"),
    [
        (models.linear(), {}, True),
        (models.linear(), {"batch_axis": "none"}, False),
        (models.softmax_over_axis_0(), {}, False),
        (models.softmax_over_axis_0(), {"batch_axis": 0}, True),
    ],
)
async def test_a_model_is_joined_when_proven_or_said_so(
    model: onnx.ModelProto, manifest: dict[str, object], batched: bool, scheduler: SchedulerDouble, worker: Connected
) -> None:
    width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    signature = [("x", "FP32", (-1, 4)), ("y", "FP32", (-1, width))]
    files = {"model.onnx": model.SerializeToString()}
    status = await scheduler.serve(worker, files, signature, "a", **manifest)
    assert status.batched is batched


async def test_a_second_load_answers_with_the_status_and_loads_nothing(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    await scheduler.serve(worker, FILES, LINEAR, "a")
    worker.statuses.clear()
    await scheduler.serve(worker, FILES, LINEAR, "a")
    assert [s.state for s in worker.statuses] == [wire.MODEL_STATE_READY]
    assert len(scheduler.reads) == 1


@pytest.fixture(scope="module")
def large() -> bytes:
    """A model of one weight of 64 MiB. (Making it takes seconds: before there is a Session to keep alive.)"""
    return models.linear(4096, 4096).SerializeToString()


async def test_unloading_gives_back_memory_and_leaves_the_group(
    large: bytes, scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    process = start_worker()
    worker = await scheduler.worker()
    await scheduler.serve(worker, FILES, LINEAR, "small")
    before = resident_bytes(process.pid)
    signature = [("x", "FP32", (-1, 4096)), ("y", "FP32", (-1, 4096))]
    await scheduler.serve(worker, {"model.onnx": large}, signature, "large")
    assert resident_bytes(process.pid) > before + len(large) // 2
    worker.down.put_nowait(unload("large"))
    await scheduler.state(worker, "large", "UNLOADED")
    assert resident_bytes(process.pid) < before + len(large) // 2
    assert await scheduler.redis.xinfo_consumers(requests_key("large"), GROUP) == []
    request = scheduler.request({"x": np.ones((1, 4), np.float32)})
    await scheduler.send("small", request)
    await scheduler.answer(request)


async def test_unloading_finishes_what_is_in_hand(scheduler: SchedulerDouble, worker: Connected) -> None:
    files = {"model.onnx": models.identity(shape=("n", 1)).SerializeToString()}
    await scheduler.serve(worker, files, ONE, "slow", runtime="sleep", batch_axis="none")
    request = scheduler.request({"x": np.array([[1.0]], np.float32)})
    await scheduler.send("slow", request)
    await eventually(lambda: _pending(scheduler, "slow"), 5)
    worker.down.put_nowait(unload("slow"))
    await scheduler.state(worker, "slow", "UNLOADED")
    assert request.number in scheduler.replies
    await scheduler.answer(request)
    assert await scheduler.at_rest("slow")


async def test_an_unknown_revision_is_unloaded_already(scheduler: SchedulerDouble, worker: Connected) -> None:
    worker.down.put_nowait(unload("nothing"))
    await scheduler.state(worker, "nothing", "UNLOADED")


async def test_a_model_comes_back_after_it_was_unloaded(scheduler: SchedulerDouble, worker: Connected) -> None:
    package = scheduler.publish(FILES)
    for message in (
        scheduler.load_message(package, LINEAR, "a"),
        unload("a"),
        scheduler.load_message(package, LINEAR, "a"),
    ):
        worker.down.put_nowait(message)
    await eventually(lambda: [s.state for s in worker.statuses][-1:] == [wire.MODEL_STATE_READY], 20)
    await eventually(lambda: wire.MODEL_STATE_UNLOADED in [s.state for s in worker.statuses], 5)
    request = scheduler.request({"x": np.ones((1, 4), np.float32)})
    await scheduler.send("a", request)
    await scheduler.answer(request)


async def test_a_deposed_leaders_commands_change_nothing(scheduler: SchedulerDouble, worker: Connected) -> None:
    package = scheduler.publish(FILES)
    worker.down.put_nowait(scheduler.load_message(package, LINEAR, "a", token=7))
    await scheduler.state(worker, "a", "READY")
    worker.down.put_nowait(unload("a", token=6))
    worker.down.put_nowait(scheduler.load_message(package, LINEAR, "b", token=6))
    worker.down.put_nowait(unload("nothing", token=7))
    await scheduler.state(worker, "nothing", "UNLOADED")
    assert {s.revision for s in worker.statuses} == {"a", "nothing"}
    assert {s.state for s in worker.statuses if s.revision == "a"}.isdisjoint({wire.MODEL_STATE_UNLOADED})


async def test_each_model_that_cannot_be_loaded_says_why_and_harms_no_other(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    broken = scheduler.publish({"model.onnx": b"no model at all"})
    stranger = scheduler.publish(FILES, runtime="tensorflow")
    absent = scheduler.publish({"model.onnx": b"nobody has this"})
    scheduler.files[absent.files[0].digest] = b"but gives this"
    bad_sample = scheduler.publish(FILES, warmup=[{"shapes": {"x": [1, 5]}}])
    for revision, package in (("b", broken), ("s", stranger), ("a", absent), ("w", bad_sample)):
        worker.down.put_nowait(scheduler.load_message(package, LINEAR, revision))
    forged = scheduler.load_message(broken, LINEAR, "f")
    forged.load.manifest = scheduler.publish(FILES).canonical()
    worker.down.put_nowait(forged)
    assert (await failure(scheduler, worker, "b"))[:2] == ("FAILED_PRECONDITION", "MODEL_LOAD_FAILED")
    assert (await failure(scheduler, worker, "s"))[:2] == ("FAILED_PRECONDITION", "RUNTIME_UNKNOWN")
    assert (await failure(scheduler, worker, "a"))[:2] == ("DATA_LOSS", "CONTENT_MISMATCH")
    assert (await failure(scheduler, worker, "w"))[:2] == ("FAILED_PRECONDITION", "MODEL_LOAD_FAILED")
    assert (await failure(scheduler, worker, "f"))[:2] == ("DATA_LOSS", "CONTENT_MISMATCH")
    await scheduler.serve(worker, FILES, LINEAR, "good")


async def test_a_model_beyond_the_workers_memory_is_refused(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    start_worker(NNPM_WORKER_MEMORY_BYTES="100")
    worker = await scheduler.worker()
    worker.down.put_nowait(scheduler.load_message(scheduler.publish(FILES), LINEAR, "a"))
    assert (await failure(scheduler, worker, "a"))[:2] == ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")


async def test_two_workers_of_a_host_fetch_a_file_once(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    for name in ("one", "two"):
        start_worker(name)
        await scheduler.serve(await scheduler.worker(name), FILES, LINEAR, "a")
    assert len(scheduler.reads) == 1


async def test_a_worker_that_comes_back_finds_its_files(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    first = start_worker()
    await scheduler.serve(await scheduler.worker(), FILES, LINEAR, "a")
    await asyncio.to_thread(first.kill)
    scheduler.sessions.clear()
    start_worker()
    await scheduler.serve(await scheduler.worker(), FILES, LINEAR, "a")
    assert len(scheduler.reads) == 1


async def test_a_package_with_external_data_in_folders_is_served(
    scheduler: SchedulerDouble, worker: Connected, tmp_path: Path
) -> None:
    path = models.external(tmp_path / "model", layers=2, layer_bytes=1 << 20)
    files = {f"net/{part.name}": part.read_bytes() for part in path.parent.iterdir()}
    reference = Reference(path)
    width = 1024
    signature = [("x", "FP32", (-1, width)), ("y", "FP32", (-1, 1))]
    await scheduler.serve(worker, files, signature, "a", model=f"net/{path.name}")
    x = np.ones((1, width), np.float32)
    request = scheduler.request({"x": x})
    await scheduler.send("a", request)
    assert not differences(reference.run({"x": x}), await scheduler.answer(request))


async def test_answers_under_concurrent_load_are_those_that_each_request_gets_alone(
    scheduler: SchedulerDouble, worker: Connected
) -> None:
    kinds = {
        "softmax": (models.softmax_over_axis_0(), (-1, 4)),
        "sequence": (models.sequence_features(), (-1, 4)),
        "nonzero": (models.nonzero(), (2, -1)),
        "loses": (models.loses_batch_axis(), (4,)),
        "linear": (models.linear(4, 4), (-1, 4)),
    }
    for name, (model, output) in kinds.items():
        datatype = "INT64" if name == "nonzero" else "FP32"
        signature = [("x", "FP32", (-1, 4)), ("y", datatype, output)]
        await scheduler.serve(worker, {"model.onnx": model.SerializeToString()}, signature, name)
    random = np.random.default_rng(3)
    for name, (model, _) in kinds.items():
        reference = Reference(model.SerializeToString())
        arrays = [random.standard_normal((random.integers(1, 4), 4), dtype=np.float32) for _ in range(60)]
        requests = [scheduler.request({"x": x}) for x in arrays]
        for start in range(0, 60, 6):
            await scheduler.send(name, *requests[start : start + 6])
        for x, request in zip(arrays, requests, strict=True):
            found, wanted = (await scheduler.answer(request))["y"], reference.run({"x": x})["y"]
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


async def test_health_says_whether_requests_can_be_taken(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process], sockets: Path
) -> None:
    process = start_worker(NNPM_WORKER_LISTEN=f"unix:{sockets}/worker.sock")
    await asyncio.to_thread(wait_healthy, f"unix:{sockets}/worker.sock", process=process)
    await scheduler.stop()
    await eventually(lambda: asyncio.to_thread(_unhealthy, f"unix:{sockets}/worker.sock"), 10)


def _unhealthy(address: str) -> bool:
    try:
        wait_healthy(address, deadline=0.2)
    except AssertionError:
        return True
    return False


async def _pending(scheduler: SchedulerDouble, revision: str) -> int:
    return int((await scheduler.redis.xpending(requests_key(revision), GROUP))["pending"])
