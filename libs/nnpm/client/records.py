"""What the client answers with: plain, frozen data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nnpm.tensors.signature import TensorSpec


@dataclass(frozen=True, slots=True)
class Package:
    """A package as lists show it."""

    name: str
    description: str
    keywords: tuple[str, ...]
    homepage: str
    latest_version: str
    updated: datetime | None


@dataclass(frozen=True, slots=True)
class Version:
    """One version. `state` is draft, validating, ready or rejected; `size` counts the bytes of all files."""

    package: str
    version: str
    digest: str
    state: str
    size: int
    license: str
    yanked: bool
    yank_reason: str
    published: datetime | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opsets: Mapping[str, int]
    producer: str
    manifest: bytes = field(repr=False)
    """Canonical JSON; `nnpm.package.manifest.Manifest.parse` reads it."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Which version a range or tag means, and why."""

    version: Version
    explanation: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A movable name of a version."""

    package: str
    tag: str
    version: str


@dataclass(frozen=True, slots=True)
class Published:
    """What `publish` did. `uploaded_bytes` were sent; the rest was stored already."""

    version: Version
    total_bytes: int
    uploaded_bytes: int
    already: bool
    """The same content had been published under this version before."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` put where."""

    package: str
    version: str
    digest: str
    folder: Path
    files: tuple[Path, ...]
    total_bytes: int
    downloaded_bytes: int
    yanked: bool


@dataclass(frozen=True, slots=True)
class Batching:
    """How a deployment's requests are joined; what is None stays as it is, or is the default.

    Attributes:
        max_batch_size: rows that are joined at most, 1 to 65,536 (default 64); 1 = never join.
        max_queue_delay: seconds that a request may wait for company, up to 60; by default as long as it pays.
        preferred_batch_sizes: rows; a batch of one of these sizes does not wait, and larger ones are cut to them.
    """

    max_batch_size: int | None = None
    max_queue_delay: float | None = None
    preferred_batch_sizes: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What all callers of a deployment together may ask of it; what is None stays as it is, 0 = any number.

    Attributes:
        requests_per_second: a second's worth may come at once.
        in_flight: unanswered at a time.
    """

    requests_per_second: float | None = None
    in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A served model. `state` is progressing, ready, failed or paused; `serving_version` is empty when none serves."""

    name: str
    package: str
    selector: str
    replicas: int
    state: str
    revision: int
    serving_revision: int
    serving_version: str
    ready_replicas: int
    message: str
    reason: str
    etag: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as it is served: which versions, and what it takes and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Inference:
    """An answer: outputs by name, and the exact version that answered."""

    model: str
    version: str
    id: str
    outputs: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.outputs[name]


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Counts since the start, and mean times in milliseconds over the successful requests."""

    model: str
    version: str
    requests: int
    failures: int
    executions: int
    mean_ms: float
    mean_queue_ms: float
    mean_compute_ms: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is. `stage` is hash, upload, download or check; counts are bytes. May come from any thread."""

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """For callers who do not want to know."""
