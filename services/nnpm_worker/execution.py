"""Runs what is in hand: decode, group, join, run, split, reply; on a model's own thread, never on the loop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nnpm.errors import Cancelled, DeadlineExceeded, Internal, NnpmError
from nnpm_worker.batching import BatchPlan, group, join, split
from nnpm_worker.buffers import Buffers
from nnpm_worker.replies import ReplyWriter, Written
from nnpm_worker.requests import Fault, Job, Piece, decode
from nnpm_worker.runtime import Model, Tensors


@dataclass(frozen=True, slots=True)
class RunTime:
    """From when to when the runtime ran, wall-clock nanoseconds."""

    begun_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of `count` requests of a job from `offset` on: their replies, or an error.

    `run` is None when they never ran.
    """

    job: Job
    offset: int
    count: int
    written: Written | None
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


@dataclass(slots=True)
class BatchResult:
    """Every job's outcome, in no promised order, and from when to when it ran, on the monotonic clock."""

    outcomes: list[Outcome]
    figures: Figures
    started_ns: int
    ended_ns: int

    @property
    def seconds(self) -> float:
        """That it took, decoding and writing replies included."""
        return (self.ended_ns - self.started_ns) / 1e9


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
        self._buffers = Buffers()

    def run(self, jobs: Sequence[Job]) -> BatchResult:
        """Bring each request to its outcome. A request's fault is its own: its neighbours are answered all the same."""
        started = time.monotonic_ns()
        result = BatchResult([], Figures(), started, started)
        pieces: list[Piece] = []
        for job in jobs:
            result.outcomes.extend([Outcome(job, offset, 1, None, _cancelled()) for offset in sorted(job.cancelled)])
            try:
                _check_deadline(job)
                decoded, faults = self._decode(job)
            except NnpmError as error:
                result.outcomes.extend(failed(job, error))
            else:
                pieces += decoded
                result.outcomes.extend([Outcome(job, fault.offset, 1, None, fault.error) for fault in faults])
        runs = group(pieces, self._plan)
        result.figures.compute_input_ns += time.monotonic_ns() - started
        for run in runs:
            self._run_together(run, result)
        result.ended_ns = time.monotonic_ns()
        return result

    def _decode(self, job: Job) -> tuple[list[Piece], list[Fault]]:
        if not job.complete:
            raise Internal("INTERNAL_ERROR", "the request came without its body")
        return decode(job)

    def _run_together(self, pieces: Sequence[Piece], result: BatchResult) -> None:
        if len(pieces) > 1 or pieces[0].count > 1:
            try:
                joined = self._joined(pieces, result.figures)
            except (NnpmError, MemoryError):
                joined = None  # whose fault it is shows when each runs alone
            if joined is not None:
                run, shares = joined
                for piece, share in zip(pieces, shares, strict=True):
                    self._reply(piece, share, run, result)
                return
        for piece in pieces:
            for single in piece.singles():
                self._run_alone(single, result)

    def _run_alone(self, piece: Piece, result: BatchResult) -> None:
        begun = self._wall_clock()
        try:
            if piece.offset in piece.job.cancelled:
                raise _cancelled()
            _check_deadline(piece.job)
            inputs = {name: array[0, ...] for name, array in piece.inputs.items()}  # a scalar stays an array
            outputs = self._infer(inputs, piece.outputs, result.figures)
        except NnpmError as error:
            run = RunTime(begun, self._wall_clock())
            result.outcomes.append(Outcome(piece.job, piece.offset, 1, None, error, run))
            return
        result.figures.requests += 1
        result.figures.runs.append(max(1, piece.rows) if self._plan.joins else 1)
        self._reply(piece, outputs, RunTime(begun, self._wall_clock()), result, alone=True)

    def _joined(self, pieces: Sequence[Piece], figures: Figures) -> tuple[RunTime, list[Tensors]] | None:
        started = time.monotonic_ns()
        inputs = join(pieces, self._buffers)
        figures.compute_input_ns += time.monotonic_ns() - started
        begun = self._wall_clock()
        outputs = self._infer(inputs, pieces[0].outputs, figures)
        run = RunTime(begun, self._wall_clock())
        self._buffers.leave_to(outputs.values())
        shares = split(outputs, pieces)
        if shares is None:
            return None
        figures.requests += sum([piece.count for piece in pieces])
        figures.runs.append(sum([piece.count * piece.rows for piece in pieces]))
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

    def _reply(self, piece: Piece, outputs: Tensors, run: RunTime, result: BatchResult, *, alone: bool = False) -> None:
        started = time.monotonic_ns()
        try:
            if alone:
                replies = [self._writer.write(piece.model_name, outputs)]
            else:
                replies = self._writer.write_all(piece.model_name, outputs, piece.count)
        except NnpmError as error:
            result.outcomes.append(Outcome(piece.job, piece.offset, piece.count, None, error, run))
        else:
            offset = piece.offset
            for written in replies:
                result.outcomes.append(Outcome(piece.job, offset, written.count, written, None, run))
                offset += written.count
        result.figures.compute_output_ns += time.monotonic_ns() - started


def failed(job: Job, error: NnpmError) -> list[Outcome]:
    """The outcomes of a job whose requests all fail with one error; cancelled ones have theirs already."""
    return [Outcome(job, offset, count, None, error) for offset, count in job.live()]


def _cancelled() -> Cancelled:
    return Cancelled("CALL_CANCELLED", "the call was cancelled before it began")


def _check_deadline(job: Job) -> None:
    """Nothing begins that nobody waits for."""
    if time.monotonic_ns() >= job.deadline_ns:
        raise DeadlineExceeded("DEADLINE_EXCEEDED", "the deadline passed before the request began")
