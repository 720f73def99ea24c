"""One request after another: what goes in comes out, or a clear error."""

from collections.abc import Callable

import numpy as np
import onnx

from nnpm_worker.stream import make_group
from support import models
from support.processes import Process
from support.reference import Reference, differences
from support.scheduler_double import Connected, SchedulerDouble
from support.waiting import eventually

LINEAR = [("x", "FP32", (-1, 4)), ("y", "FP32", (-1, 3))]


async def serve(
    scheduler: SchedulerDouble, worker: Connected, model: onnx.ModelProto, signature: list, revision: str, **manifest: object
) -> None:
    package = scheduler.publish({"model.onnx": model.SerializeToString()}, **manifest)
    worker.down.put_nowait(scheduler.load_message(package, signature, revision))
    await scheduler.state(worker, revision, "READY")


async def test_an_answer_equals_onnx_runtime_in_process_bit_for_bit(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    start_worker()
    worker = await scheduler.worker()
    model = models.linear()
    await serve(scheduler, worker, model, LINEAR, "linear-1")
    x = np.random.default_rng(1).standard_normal((3, 4), dtype=np.float32)
    request = scheduler.request({"x": x}, id="call 7")
    await scheduler.send("linear-1", request)
    response = await scheduler.response(request)
    assert (response.model_name, response.model_version, response.id) == ("acme-tiny", "1.2.3", "call 7")
    assert not differences(Reference(model.SerializeToString()).run({"x": x}), await scheduler.answer(request))
    await eventually(lambda: scheduler.at_rest("linear-1"), 5, what="the entry is deleted and acknowledged")
