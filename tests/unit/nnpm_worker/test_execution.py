"""Batches on a thread: each job's outcome is its own."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from nnpm.api.inference.inference_pb2 import ModelInferRequest, ModelInferResponse
from nnpm.errors import InvalidArgument
from nnpm.queue.entry import Block, InputSpec, Layout
from nnpm_worker.batching import BatchPlan
from nnpm_worker.execution import BatchResult, Execution
from nnpm_worker.replies import ReplyWriter
from nnpm_worker.requests import Job
from nnpm_worker.runtime import Tensors

SOON = 60_000_000_000


class Doubling:
    """y = 2 x; notes the rows of each run."""

    providers = ("CPU",)

    def __init__(self, hook: Callable[[np.ndarray], np.ndarray | None] = lambda x: None) -> None:
        self.runs: list[int] = []
        self._hook = hook

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        x = inputs["x"]
        self.runs.append(len(x))
        changed = self._hook(x)
        return {"y": 2 * x if changed is None else changed}

    def close(self) -> None:
        """Nothing to close."""


def job(*rows: float, deadline_ns: int | None = None) -> Job:
    """A request that has to be parsed."""
    message = ModelInferRequest(model_name="m", id=str(rows))
    message.inputs.add(name="x", datatype="FP32", shape=[len(rows), 1])
    message.raw_input_contents.append(np.array(rows, np.float32).tobytes())
    return _job(Block(0, 0, 1, 0, 0, body=message.SerializeToString()), deadline_ns)


def block(*requests: Sequence[float], datatype: str = "FP32") -> Job:
    """Requests of as many rows each, with a layout."""
    raw = np.array(requests, np.float32 if datatype == "FP32" else np.uint8).tobytes()
    layout = Layout("m", (InputSpec("x", datatype, (len(requests[0]), 1)),), (), len(raw) // len(requests))
    return _job(Block(10, 0, len(requests), 0, 0, layout, (raw,)))


def _job(block: Block, deadline_ns: int | None = None) -> Job:
    now = time.monotonic_ns()
    return Job(block, now, deadline_ns or now + SOON, now)


def run(model: Doubling, *jobs: Job, rows: int = 64) -> BatchResult:
    return Execution(model, BatchPlan(rows), ReplyWriter("1.0.0", 1 << 20)).run(jobs)


def answers(result: BatchResult, jobs: Sequence[Job]) -> list[list[float] | str]:
    """One answer a request, in order."""
    found: dict[tuple[Job, int], list[float] | str] = {}
    for outcome in result.outcomes:
        for index in range(outcome.count):
            place = outcome.job, outcome.offset + index
            assert place not in found, "a request has two outcomes"
            if outcome.error is not None:
                found[place] = outcome.error.reason
                continue
            assert outcome.written is not None
            (raw,) = outcome.written.raw
            stride = len(raw) // outcome.count
            own = bytes(raw[index * stride : (index + 1) * stride])
            response = ModelInferResponse.FromString(outcome.written.head)
            assert response.outputs[0].shape[0] * 4 == len(own)
            found[place] = np.frombuffer(own, np.float32).tolist()
    return [found[job, offset] for job in jobs for offset in range(job.block.count)]


def test_jobs_are_joined_and_each_gets_its_own_rows() -> None:
    model, jobs = Doubling(), [job(1), job(2, 3), job(4)]
    result = run(model, *jobs)
    assert answers(result, jobs) == [[2], [4, 6], [8]]
    assert model.runs == [4]
    assert (result.figures.requests, result.figures.rows) == (3, 4)


def test_a_job_that_fails_the_batch_fails_alone() -> None:
    def refuse_thirteen(x: np.ndarray) -> None:
        if (x == 13).any():
            raise InvalidArgument("RUNTIME_REFUSED", "not that number")

    model, jobs = Doubling(refuse_thirteen), [job(1), job(13), job(2)]
    assert answers(run(model, *jobs), jobs) == [[2], "RUNTIME_REFUSED", [4]]
    assert model.runs == [3, 1, 1, 1]


def test_whatever_a_runtime_raises_is_one_requests_failure() -> None:
    def crash(x: np.ndarray) -> None:
        if (x == 13).any():
            raise ZeroDivisionError("oops")

    jobs = [job(13), job(1)]
    assert answers(run(Doubling(crash), *jobs, rows=1), jobs) == ["RUNTIME_FAILED", [2]]


def test_outputs_that_lost_their_rows_send_each_job_alone() -> None:
    def lose(x: np.ndarray) -> np.ndarray | None:
        return x[:1] if len(x) > 1 else None

    model, jobs = Doubling(lose), [job(1), job(2)]
    assert answers(run(model, *jobs), jobs) == [[2], [4]]
    assert model.runs == [2, 1, 1]


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_the_plan_bounds_a_run(rows: int) -> None:
    model = Doubling()
    jobs = [job(1), job(2), job(3)]
    assert answers(run(model, *jobs, rows=rows), jobs) == [[2], [4], [6]]
    assert sum(model.runs) == 3
    assert max(model.runs) <= rows


def test_expired_and_cancelled_jobs_are_not_run() -> None:
    model = Doubling()
    expired, cancelled, good = job(1, deadline_ns=1), job(2), job(3)
    cancelled.cancelled.add(0)
    jobs = [expired, cancelled, good]
    assert answers(run(model, *jobs), jobs) == ["DEADLINE_EXCEEDED", "CALL_CANCELLED", [6]]
    assert model.runs == [1]


def test_a_job_cancelled_while_others_run_is_not_begun() -> None:
    jobs = [job(1), job(2)]

    def cancel_the_second(x: np.ndarray) -> None:
        jobs[1].cancelled.add(0)

    model = Doubling(cancel_the_second)
    assert answers(run(model, *jobs, rows=1), jobs) == [[2], "CALL_CANCELLED"]
    assert model.runs == [1]


def test_a_reply_that_is_too_large_is_an_error() -> None:
    model = Doubling(lambda x: np.zeros((1, 1 << 20), np.float32))
    jobs = [job(1)]
    assert answers(run(model, *jobs), jobs) == ["REPLY_TOO_LARGE"]


def test_no_outcome_is_lost_whatever_the_mixture() -> None:
    jobs = [job(*([float(number)] * (number % 4))) for number in range(50)]
    result = run(Doubling(), *jobs, rows=8)
    assert len(result.outcomes) == 50
    assert answers(result, jobs) == [[2.0 * number] * (number % 4) for number in range(50)]


def test_the_requests_of_a_block_run_together_and_each_gets_its_own() -> None:
    model, jobs = Doubling(), [block([1, 2], [3, 4], [5, 6]), job(7)]
    result = run(model, *jobs)
    assert answers(result, jobs) == [[2, 4], [6, 8], [10, 12], [14]]
    assert model.runs == [7]
    assert len(result.outcomes) == 2, "a block's replies are one outcome"
    assert result.figures.requests == 4


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 64])
def test_a_block_that_does_not_fit_a_run_is_cut(rows: int) -> None:
    model, jobs = Doubling(), [block(*([float(number)] for number in range(11)))]
    assert answers(run(model, *jobs, rows=rows), jobs) == [[2.0 * number] for number in range(11)]
    assert max(model.runs) <= rows
    assert sum(model.runs) == 11


def test_cancelled_requests_of_a_block_are_left_out() -> None:
    model, jobs = Doubling(), [block([1], [2], [3], [4])]
    jobs[0].cancelled |= {0, 2}
    assert answers(run(model, *jobs), jobs) == ["CALL_CANCELLED", [4], "CALL_CANCELLED", [8]]
    assert sum(model.runs) == 2


def test_a_request_of_a_block_that_fails_the_batch_fails_alone() -> None:
    def refuse_thirteen(x: np.ndarray) -> None:
        if (x == 13).any():
            raise InvalidArgument("RUNTIME_REFUSED", "not that number")

    jobs = [block([1], [13], [2])]
    assert answers(run(Doubling(refuse_thirteen), *jobs), jobs) == [[2], "RUNTIME_REFUSED", [4]]


def test_a_request_of_a_block_with_bad_contents_fails_alone() -> None:
    jobs = [block([1], [2], [0], datatype="BOOL")]
    result = run(Doubling(lambda x: x.astype(np.float32)), *jobs)
    assert answers(result, jobs) == [[1], "INVALID_CONTENTS", [0]]


def test_an_expired_block_is_not_run() -> None:
    model, jobs = Doubling(), [block([1], [2])]
    jobs[0].deadline_ns = 1
    assert answers(run(model, *jobs), jobs) == ["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"]
    assert model.runs == []


def test_a_runtime_that_answers_with_its_input_does_not_see_it_overwritten_by_the_next_batch() -> None:
    execution = Execution(Doubling(lambda x: x), BatchPlan(64), ReplyWriter("1.0.0", 1 << 20))
    first, second = [job(1), job(2)], [job(3), job(4)]
    one = execution.run(first)
    other = execution.run(second)
    assert answers(one, first) == [[1], [2]]
    assert answers(other, second) == [[3], [4]]
