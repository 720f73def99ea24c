"""One loaded copy of a revision: how it comes to be, and how it goes."""

import asyncio
from dataclasses import dataclass

from nnpm.errors import FailedPrecondition, NnpmError
from nnpm.package.manifest import Manifest
from nnpm.telemetry.logs import get_logger
from nnpm_worker import huge_pages, memory
from nnpm_worker.batching import BatchPlan
from nnpm_worker.execution import Execution
from nnpm_worker.model_thread import ModelThread
from nnpm_worker.packages import Package
from nnpm_worker.patience import Patience
from nnpm_worker.plugins import Runtimes
from nnpm_worker.probe import Verdict, probe
from nnpm_worker.replies import ReplyWriter
from nnpm_worker.runtime import Model, SelfDescribed, Signature, Steady, Tensors
from nnpm_worker.warmup import package_samples, warm_up

_log = get_logger("replica")

HUGE_PAGES_SECONDS = 5.0
"""For moving a loaded model to huge pages: some 2 GB; what is left is moved in the background by the system."""


@dataclass(frozen=True, slots=True)
class Batching:
    """What a deployment says of batches.

    Attributes:
        most_rows: largest one wanted; 0 = the worker's default, 1 = never join.
        longest: seconds that a request may wait for company; None = as long as it pays, which is learned.
        preferred: sizes at which a batch does not wait.
    """

    most_rows: int = 0
    longest: float | None = None
    preferred: tuple[int, ...] = ()

    def patience(self, most: int) -> Patience:
        """For batches of at most so many."""
        return Patience(most, self.longest, self.preferred)


@dataclass(frozen=True, slots=True)
class Revision:
    """What is to be loaded.

    Attributes:
        id: names the request stream.
        namespace: that the files lie in.
        version: exact; stands in every reply.
        manifest: parsed and verified.
        signature: as the registry recorded it.
        batching: what the deployment says of it.
    """

    id: str
    namespace: str
    version: str
    manifest: Manifest
    signature: Signature
    batching: Batching


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """What the worker's settings say: default batch in rows, bytes of a reply, seconds for a probe."""

    rows: int
    reply_bytes: int
    probe_seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, what was found out about it, and the memory that it takes (bytes)."""

    model: Model
    plan: BatchPlan
    memory_bytes: int


class Replica:
    """A loaded model with its thread and its files."""

    def __init__(
        self, revision: Revision, loaded: Loaded, thread: ModelThread, package: Package, limits: LoadLimits
    ) -> None:
        self.revision = revision
        self.plan = loaded.plan
        self.memory_bytes = loaded.memory_bytes
        self.providers = loaded.model.providers
        self.steady = isinstance(loaded.model, Steady) and loaded.model.steady
        self.thread = thread
        self.execution = Execution(loaded.model, loaded.plan, ReplyWriter(revision.version, limits.reply_bytes))
        self._model = loaded.model
        self._package = package

    async def close(self) -> None:
        """Give everything back; nothing may be running."""
        await self.thread.call(self._model.close)
        self.thread.close()
        del self.execution
        await asyncio.to_thread(memory.give_back)
        self._package.close()


async def open_replica(revision: Revision, package: Package, runtimes: Runtimes, limits: LoadLimits) -> Replica:
    """Load from a package that is there, check that nothing was swapped meanwhile, warm up, probe.

    Raises:
        FailedPrecondition: MODEL_LOAD_FAILED, RUNTIME_UNKNOWN.
        DataLoss: CACHE_CORRUPT.
    """
    thread = ModelThread(f"model-{revision.id}")
    try:
        loaded = await thread.call(lambda: _load(revision, package, runtimes, limits))
    except BaseException:
        thread.close()
        raise
    return Replica(revision, loaded, thread, package, limits)


def _load(revision: Revision, package: Package, runtimes: Runtimes, limits: LoadLimits) -> Loaded:
    manifest = revision.manifest
    before = memory.resident_bytes()
    try:
        model = runtimes.load(manifest, package, revision.signature)
    except NnpmError:
        raise
    except Exception as error:
        # A runtime is foreign code: whatever it raises, this model could not be loaded, and others can.
        raise FailedPrecondition(
            "MODEL_LOAD_FAILED", f"runtime {manifest.runtime!r} cannot load the model: {error}"
        ) from error
    try:
        package.check_unchanged()
        samples = package_samples(manifest, package.folder, revision.signature)
        warm_up(model, revision.signature, samples)
        huge_pages.use(HUGE_PAGES_SECONDS)
        verdict = _verdict(revision, model, samples, limits)
    except BaseException:
        model.close()
        raise
    # Mapped weights that no run has touched yet are not resident, but will be.
    elsewhere = model.memory_bytes if isinstance(model, SelfDescribed) else 0
    taken = max(memory.resident_bytes() - before + elsewhere, manifest.size)
    _log.info("model loaded", revision=revision.id, providers=model.providers, batch=verdict.rows, why=verdict.why)
    return Loaded(model, BatchPlan(verdict.rows), taken)


def _verdict(revision: Revision, model: Model, samples: list[Tensors], limits: LoadLimits) -> Verdict:
    rows = revision.batching.most_rows or limits.rows
    if revision.manifest.batch_axis == "none":
        return Verdict(1, "the package forbids it")
    if rows == 1:
        return Verdict(1, "the deployment forbids it")
    if revision.manifest.batch_axis == 0:
        return Verdict(rows, "the package says so")
    stated = model.batch_axis if isinstance(model, SelfDescribed) else None
    if stated is not None:
        return Verdict(rows if stated == 0 else 1, "the model says so")
    return probe(model, revision.signature, samples, rows, limits.probe_seconds)
