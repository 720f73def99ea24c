"""Runs what is in hand: decode, group, join, run, split, reply; on a model's own thread, never on the loop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nnpm.errors import Cancelled, DeadlineExceeded, Internal, NnpmError
from nnpm_worker.batching import BatchPlan, group, join, row_count, split
from nnpm_worker.replies import ReplyWriter
from nnpm_worker.requests import Call, Job, decode_call
from nnpm_worker.runtime import Model, Tensors


@dataclass(frozen=True, slots=True)
class RunTime:
    """From when to when the runtime ran, wall-clock nanoseconds."""

    begun_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job's end: a serialised ModelInferResponse, or an error. `run` is None when it never ran."""

    job: Job
    body: bytes | None
    error: NnpmError | None
    run: RunTime | None = None


@dataclass(slots=True)
class Figures:
    """What a batch cost: requests answered, rows of each run that was made, and nanoseconds of each part."""

    requests: int = 0
    runs: list[int] = field(default_factory=list)
    compute_input_ns: int = 0
    compute_infer_ns: int = 0
    compute_output_ns: int = 0

    @property
    def rows(self) -> int:
        """Of all runs."""
        return sum(self.runs)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Every job's outcome, in no promised order. `started_ns` is on the monotonic clock."""

    outcomes: list[Outcome]
    figures: Figures
    started_ns: int


class Execution:
    """Runs batches of one loaded model.

    Args:
        model: used by one thread at a time.
        plan: how requests are joined.
        writer: of the replies.
        wall_clock: nanoseconds since the epoch, for spans.
    """

    def __init__(
        self, model: Model, plan: BatchPlan, writer: ReplyWriter, wall_clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._model = model
        self._plan = plan
        self._writer = writer
        self._wall_clock = wall_clock

    def run(self, jobs: Sequence[Job]) -> BatchResult:
        """Bring each job to its outcome. A job's fault is its own: its neighbours are answered all the same."""
        started = time.monotonic_ns()
        result = BatchResult([], Figures(), started)
        waiting: dict[int, Job] = {}
        calls: list[Call] = []
        for job in jobs:
            try:
                call = self._admit(job)
            except NnpmError as error:
                result.outcomes.append(Outcome(job, None, error))
            else:
                waiting[id(call)] = job
                calls.append(call)
        runs = group(calls, self._plan)
        result.figures.compute_input_ns += time.monotonic_ns() - started
        for run in runs:
            self._run_together(run, waiting, result)
        return result

    def _admit(self, job: Job) -> Call:
        """The job's call, if it is still wanted."""
        _check_wanted(job)
        if job.body is None:
            raise Internal("INTERNAL_ERROR", "the request came without its body")
        return decode_call(job.body, job.request.layout)

    def _run_together(self, calls: Sequence[Call], waiting: dict[int, Job], result: BatchResult) -> None:
        if len(calls) > 1:
            try:
                joined = self._joined(calls, result.figures)
            except (NnpmError, MemoryError):
                joined = None  # whose fault it is shows when each runs alone
            if joined is not None:
                run, shares = joined
                for call, share in zip(calls, shares, strict=True):
                    self._reply(call, share, waiting[id(call)], run, result)
                return
        for call in calls:
            self._run_alone(call, waiting[id(call)], result)

    def _run_alone(self, call: Call, job: Job, result: BatchResult) -> None:
        begun = self._wall_clock()
        try:
            _check_wanted(job)
            outputs = self._infer(call.inputs, call.outputs, result.figures)
        except NnpmError as error:
            result.outcomes.append(Outcome(job, None, error, RunTime(begun, self._wall_clock())))
            return
        result.figures.requests += 1
        result.figures.runs.append(max(1, row_count(call.inputs)) if self._plan.joins else 1)
        self._reply(call, outputs, job, RunTime(begun, self._wall_clock()), result)

    def _joined(self, calls: Sequence[Call], figures: Figures) -> tuple[RunTime, list[Tensors]] | None:
        started = time.monotonic_ns()
        inputs = join(calls)
        figures.compute_input_ns += time.monotonic_ns() - started
        begun = self._wall_clock()
        outputs = self._infer(inputs, calls[0].outputs, figures)
        run = RunTime(begun, self._wall_clock())
        shares = split(outputs, calls)
        if shares is None:
            return None
        figures.requests += len(calls)
        figures.runs.append(row_count(inputs))
        return run, shares

    def _infer(self, inputs: Tensors, outputs: Sequence[str], figures: Figures) -> Tensors:
        started = time.monotonic_ns()
        try:
            return self._model.run(inputs, outputs)
        except NnpmError:
            raise
        except Exception as error:
            # A runtime is foreign code: whatever it raises is one request's failure, not the worker's.
            raise Internal("RUNTIME_FAILED", f"the runtime failed: {error}") from error
        finally:
            figures.compute_infer_ns += time.monotonic_ns() - started

    def _reply(self, call: Call, outputs: Tensors, job: Job, run: RunTime, result: BatchResult) -> None:
        started = time.monotonic_ns()
        try:
            result.outcomes.append(Outcome(job, self._writer.write(call, outputs), None, run))
        except NnpmError as error:
            result.outcomes.append(Outcome(job, None, error, run))
        result.figures.compute_output_ns += time.monotonic_ns() - started


def _check_wanted(job: Job) -> None:
    """Nothing begins that nobody waits for."""
    if job.cancelled:
        raise Cancelled("CALL_CANCELLED", "the call was cancelled before it began")
    if time.monotonic_ns() >= job.deadline_ns:
        raise DeadlineExceeded("DEADLINE_EXCEEDED", "the deadline passed before the request began")
