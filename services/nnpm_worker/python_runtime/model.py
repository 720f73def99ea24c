"""A loaded class: its process, and a new one when that has died."""

import time
from collections.abc import Callable, Sequence
from typing import Literal

from nnpm.errors import FailedPrecondition, Internal, InvalidArgument, NnpmError, ResourceExhausted, Unavailable
from nnpm.telemetry.logs import get_logger
from nnpm.tensors.datatypes import of_array
from nnpm_worker.python_runtime.frames import Message
from nnpm_worker.python_runtime.process import ClassProcess, Died
from nnpm_worker.python_runtime.restarts import Restarts
from nnpm_worker.runtime import CodeLimits, Signature, Tensors, TensorSpec

_PATIENCE = 1.0
"""Seconds that a request waits for a new process, at most."""

_log = get_logger("python")


class PythonModel:
    """See `nnpm_worker.runtime.Model` and `SelfDescribed`.

    A class that raises ValueError or TypeError refuses the request; whatever else it raises is its own fault.

    Args:
        start: starts a process; may raise NnpmError when the package's files are not what they were.
        signature: as the package declares it; held against what the class returns.
        limits: of each process.
    """

    providers: tuple[str, ...] = ()

    def __init__(self, start: Callable[[], ClassProcess], signature: Signature, limits: CodeLimits) -> None:
        self._start = start
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._limits = limits
        self._restarts = Restarts()
        self._closed = False
        self._process: ClassProcess | None
        self._process, told = self._started()
        self.batch_axis = _batch_axis(told)

    @property
    def memory_bytes(self) -> int:
        """What its process has in memory now."""
        return self._process.memory_bytes if self._process is not None else 0

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """See `nnpm_worker.runtime.Model.run`."""
        for name in outputs:
            if name not in self._outputs:
                raise InvalidArgument(
                    "UNKNOWN_OUTPUT", f"the model has no output {name!r}", hint=f"it has {', '.join(self._outputs)}"
                )
        process = self._living()
        try:
            answer = process.run(inputs, self._limits.run_seconds)
        except Died as end:
            raise self._lost(end) from end
        except MemoryError as error:
            raise _no_memory("there is no room for the request's tensors") from error
        self._restarts.worked()
        if "outputs" not in answer:
            raise _refusal(answer)
        found: Tensors = answer["outputs"]
        self._check(found)
        return {name: found[name] for name in outputs or self._outputs}

    def close(self) -> None:
        """End the process."""
        self._closed = True
        if self._process is not None:
            self._process.end()
            self._process = None

    def _living(self) -> ClassProcess:
        """The process; a new one, as soon as it may be, in the place of one that is gone."""
        if self._closed:
            raise Internal("RUNTIME_FAILED", "the model is closed")
        if self._process is not None and not self._process.alive:
            _log.warning("a class's process ended between requests", words=self._process.end())
            self._process = None
            self._restarts.died()
        if self._process is None:
            wait = self._restarts.wait
            if wait > _PATIENCE:
                raise _restarting("its process has died time and again", wait)
            time.sleep(wait)
            self._process = self._restarted()
        return self._process

    def _restarted(self) -> ClassProcess:
        try:
            return self._started()[0]
        except NnpmError as error:
            self._restarts.died()
            raise _restarting(f"its process cannot be started: {error.message}", self._restarts.wait) from error

    def _started(self) -> tuple[ClassProcess, Message]:
        process = self._start()
        try:
            told = process.load(self._limits.load_seconds)
        except Died as end:
            raise FailedPrecondition("MODEL_LOAD_FAILED", f"the class's process {end}") from end
        if "fault" in told:
            words = process.end()
            _log.warning("a class could not be loaded", why=told.get("text"), words=words)
            raise FailedPrecondition(
                "MODEL_LOAD_FAILED",
                f"the class cannot be loaded: {told.get('text')}",
                hint="what it imports has to be in the package, or installed where the worker runs",
            )
        return process, told

    def _lost(self, end: Died) -> Internal:
        self._process = None
        self._restarts.died()
        _log.warning("a class's process died of a request", how=str(end))
        if not end.in_time:
            return Internal(
                "RUNTIME_TIMEOUT", f"the model took longer than the {self._limits.run_seconds:g} s that a run may take"
            )
        return Internal("RUNTIME_CRASHED", f"the model's process {str(end).partition(';')[0]} while it ran the request")

    def _check(self, found: Tensors) -> None:
        """Whether the class kept to what its package declares."""
        for name, spec in self._outputs.items():
            if name not in found:
                raise Internal("RUNTIME_FAILED", f"the model's class left out its output {name!r}")
            fault = _fault(found, spec)
            if fault:
                raise Internal("RUNTIME_FAILED", f"the model's class gave output {name!r} {fault}")


def _fault(found: Tensors, spec: TensorSpec) -> str:
    array = found[spec.name]
    datatype = of_array(array).name
    if datatype != spec.datatype:
        return f"as {datatype}; its package declares {spec.datatype}"
    shape = spec.shape
    if shape is None or (
        len(shape) == array.ndim and all(size in (-1, had) for size, had in zip(shape, array.shape, strict=True))
    ):
        return ""
    return f"the shape {list(array.shape)}; its package declares {list(shape)}"


def _refusal(answer: Message) -> NnpmError:
    text = str(answer.get("text", ""))
    if answer.get("fault") == "request":
        return InvalidArgument("RUNTIME_REFUSED", f"the model refuses the request: {text}")
    if answer.get("fault") == "memory":
        return _no_memory(f"the memory of the model's process does not suffice for this request: {text}")
    return Internal("RUNTIME_FAILED", f"the model failed: {text}")


def _no_memory(text: str) -> ResourceExhausted:
    return ResourceExhausted("OUT_OF_MEMORY", text.removesuffix(": "))


def _restarting(why: str, wait: float) -> Unavailable:
    return Unavailable("RUNTIME_RESTARTING", f"the model is not running: {why}", retry_after=max(wait, 0.1))


def _batch_axis(told: Message) -> Literal[0, "none"] | None:
    stated = told.get("batch_axis")
    if stated == "none":
        return "none"
    return 0 if type(stated) is int and stated == 0 else None
