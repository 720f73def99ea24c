"""What a runtime is: the thing that loads a model's file and runs tensors through it.

A runtime is found by its name in the entry point group `nnpm.runtimes`; the entry point is called with RuntimeOptions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from nnpm.errors import FailedPrecondition

GROUP = "nnpm.runtimes"

Tensors = Mapping[str, NDArray[Any]]
"""Arrays by name; BF16 as ml_dtypes.bfloat16, BYTES as objects of `bytes`."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output: its Open Inference Protocol datatype, and its shape with -1 for what is free (None: any)."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, as the registry recorded it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What the worker's settings say to every runtime.

    Attributes:
        threads: that one run may use; 0 = the runtime's own default.
        providers: `auto`, or names of execution providers, best first, separated by commas.
    """

    threads: int
    providers: str


class Model(Protocol):
    """A loaded model. `run` and `close` are called from one thread at a time, and in any thread."""

    @property
    def providers(self) -> tuple[str, ...]:
        """What executes it, best first."""

    @property
    def steady(self) -> bool:
        """Whether what a run takes depends on its inputs' shapes alone, and not on what they say.

        Then runs that have been found to take a fraction of a millisecond are made on the event loop.
        """

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """The outputs of that names, in that order; all in the model's order when `outputs` is empty.

        Raises:
            InvalidArgument: RUNTIME_REFUSED, when these inputs are at fault.
            NnpmError: any other, when they are not.
        """

    def close(self) -> None:
        """Give its memory back."""


class Runtime(Protocol):
    """Loads models of one kind."""

    @property
    def providers(self) -> tuple[str, ...]:
        """What it could execute on here, best first."""

    @property
    def pure(self) -> bool:
        """Whether a run has no effect but its outputs, so that another worker may repeat what a dead one had begun.

        Must be true: a request may run more than once, and there is no way yet to run one at most once.
        """

    def load(self, path: Path, signature: Signature) -> Model:
        """Load by path; files beside it belong to the model. Raises FailedPrecondition MODEL_LOAD_FAILED."""


class Runtimes:
    """The runtimes of this worker, each made when it is first asked for."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options
        self._factories: dict[str, Callable[[RuntimeOptions], Runtime]] = {}
        self._made: dict[str, Runtime] = {}
        self._found = {point.name: point for point in entry_points(group=GROUP)}

    @property
    def names(self) -> tuple[str, ...]:
        """Every runtime that is installed here."""
        return tuple(sorted(self._found))

    def get(self, name: str) -> Runtime:
        """The runtime of that name. Raises FailedPrecondition RUNTIME_UNKNOWN."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Runtime:
        point = self._found.get(name)
        if point is None:
            raise FailedPrecondition(
                "RUNTIME_UNKNOWN",
                f"this worker has no runtime {name!r}; it has {', '.join(self.names) or 'none'}",
                hint=f"install a distribution with the entry point {name!r} in the group {GROUP!r}",
            )
        try:
            factory: Callable[[RuntimeOptions], Runtime] = point.load()
        except ImportError as error:
            raise FailedPrecondition(
                "RUNTIME_UNKNOWN", f"runtime {name!r} is not usable on this worker: {error}"
            ) from error
        runtime = factory(self._options)
        if not runtime.pure:
            raise FailedPrecondition(
                "RUNTIME_UNKNOWN", f"runtime {name!r} is not usable: nnpm may repeat a run, and its runs are not pure"
            )
        return runtime
