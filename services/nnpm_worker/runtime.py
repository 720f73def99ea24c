"""What a runtime is: the thing that loads a model's file and runs tensors through it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

from nnpm.package.manifest import Manifest
from nnpm_worker.grants import NOBODY, Grants

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
class CodeLimits:
    """What code that a package brings may do.

    Attributes:
        grants: whose code may run here at all.
        memory_bytes: address space of its process.
        load_seconds: that it may take to get ready.
        run_seconds: that one run may take.
    """

    grants: Grants = NOBODY
    memory_bytes: int = 4 * 1024**3
    load_seconds: float = 60.0
    run_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What the worker's settings say to every runtime.

    Attributes:
        threads: that one run may use; 0 = the runtime's own default.
        providers: `auto`, or names of execution providers, best first, separated by commas.
        code: for a runtime that runs a package's own code.
    """

    threads: int
    providers: str
    code: CodeLimits = CodeLimits()


class Model(Protocol):
    """A loaded model. `run` and `close` are called from one thread at a time, whichever it is.

    One that knows more may also be a `SelfDescribed`, and one whose runs take equally long a `Steady`.
    """

    @property
    def providers(self) -> tuple[str, ...]:
        """What executes it, best first."""

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


@runtime_checkable
class SelfDescribed(Protocol):
    """What a model may say of itself beside what every model does."""

    @property
    def batch_axis(self) -> Literal[0, "none"] | None:
        """0: requests may be joined along axis 0; "none": never; None: find out. What the package says goes before."""

    @property
    def memory_bytes(self) -> int:
        """What it takes of the machine's memory outside this process."""


@runtime_checkable
class Steady(Protocol):
    """A model that says whether equal work takes equally long; one that says nothing is taken not to be steady."""

    @property
    def steady(self) -> bool:
        """Whether what a run takes depends on its inputs' shapes alone, and not on what they say.

        Then runs that have been found to take a fraction of a millisecond are made on the event loop.
        """


class PackageFiles(Protocol):
    """A package's files on this host, verified."""

    @property
    def folder(self) -> Path:
        """Holds the manifest's paths, and nothing else."""

    def check_unchanged(self) -> None:
        """Raises DataLoss CACHE_CORRUPT when a file is no longer the one that was verified."""


@runtime_checkable
class PackageRuntime(Protocol):
    """A runtime that has to know whose model it loads: asked before anything is fetched, it loads the package."""

    def check(self, manifest: Manifest) -> None:
        """Raises FailedPrecondition or PermissionDenied when the package must not, or cannot, be loaded here."""

    def load_package(self, manifest: Manifest, files: PackageFiles, signature: Signature) -> Model:
        """As `Runtime.load`, which is not called then."""
