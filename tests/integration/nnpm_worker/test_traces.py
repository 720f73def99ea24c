"""Spans of a worker, received by OTLP."""

from collections.abc import Callable

import numpy as np

from support import models
from support.otlp_receiver import OtlpReceiver
from support.processes import Process
from support.scheduler_double import SchedulerDouble
from support.waiting import eventually

ONE = [("x", "FP32", (-1, 1)), ("y", "FP32", (-1, 1))]
FILES = {"model.onnx": models.identity(shape=("n", 1)).SerializeToString()}


def traceparent(number: int) -> tuple[str, str, str]:
    trace_id, span_id = f"{number:032x}", f"{number:016x}"
    return trace_id, span_id, f"00-{trace_id}-{span_id}-01"


async def test_request_and_run_continue_the_callers_trace_and_the_batch_links_to_all(
    scheduler: SchedulerDouble, start_worker: Callable[..., Process]
) -> None:
    with OtlpReceiver() as receiver:
        start_worker(NNPM_OTLP_ENDPOINT=receiver.endpoint, NNPM_TRACE_SAMPLE_RATIO="0")
        worker = await scheduler.worker()
        await scheduler.serve(worker, FILES, ONE, "a", batch_axis=0)
        x = {"x": np.ones((1, 1), np.float32)}
        callers = [traceparent(number) for number in (11, 12)]
        requests = [scheduler.request(x, traceparent=caller[2]) for caller in callers]
        unsampled = scheduler.request(x)
        await scheduler.send("a", *requests, unsampled)
        for request in (*requests, unsampled):
            await scheduler.answer(request)
        await eventually(lambda: len(receiver.spans) >= 5, 10, what="the spans come")
    spans = receiver.spans
    by_name = {name: [span for span in spans if span.name == name] for name in {span.name for span in spans}}
    assert {name: len(found) for name, found in by_name.items()} == {
        "nnpm.worker.request": 2,
        "nnpm.runtime.run": 2,
        "nnpm.worker.batch": 1,
    }
    for trace_id, span_id, _ in callers:
        (request,) = [span for span in by_name["nnpm.worker.request"] if span.trace_id == trace_id]
        (run,) = [span for span in by_name["nnpm.runtime.run"] if span.trace_id == trace_id]
        assert request.parent_id == span_id
        assert run.parent_id == request.span_id
    (batch,) = by_name["nnpm.worker.batch"]
    linked = {(span.trace_id, span.span_id) for span in by_name["nnpm.worker.request"]}
    assert {tuple(link) for link in batch.links} == linked
