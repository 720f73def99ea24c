"""Load and Unload as decided on one event loop, with a runtime of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from nnpm.errors import NnpmError, Unavailable
from nnpm.package.digest import digest_of
from nnpm.package.manifest import Manifest
from nnpm.telemetry.metrics import Metrics
from nnpm_worker.cache import Cache
from nnpm_worker.models import Models, ModelState, ModelStatus, Traffic
from nnpm_worker.packages import Packages
from nnpm_worker.plugins import Runtimes
from nnpm_worker.replica import Batching, LoadLimits, Replica, Revision
from nnpm_worker.runtime import RuntimeOptions, Signature
from support import models as onnx_models
from support.waiting import eventually

CONTENT = onnx_models.linear().SerializeToString()


class Source:
    """Gives the model once it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.fails: NnpmError | Exception | None = None

    async def read(self, namespace: str, digest: str, offset: int) -> AsyncIterator[bytes]:
        await self.open.wait()
        if self.fails is not None:
            raise self.fails
        yield CONTENT


class Bench:
    """Models with everything around them, and what it was told."""

    def __init__(self, tmp_path: Path) -> None:
        self.source = Source()
        self.told: list[ModelStatus] = []
        self.counts: list[int] = []
        self.serving: set[str] = set()
        self.models = Models(
            packages=Packages(Cache(tmp_path, 1 << 20), self.source, Metrics()),
            runtimes=Runtimes(RuntimeOptions(1, "cpu")),
            limits=LoadLimits(rows=8, reply_bytes=1 << 20, probe_seconds=5),
            memory_bytes=1 << 40,
            traffic=Traffic(self._join, self._leave),
            tell=self.told.append,
            count=self.counts.append,
        )

    async def _join(self, replica: Replica) -> None:
        self.serving.add(replica.revision.id)

    async def _leave(self, revision: str) -> None:
        self.serving.discard(revision)

    def states(self, revision: str) -> Sequence[str]:
        return [status.state.name for status in self.told if status.revision == revision]

    async def reach(self, revision: str, state: str) -> None:
        await eventually(lambda: state in self.states(revision), 20, what=f"{revision} is {state}")


def revision(name: str) -> Revision:
    manifest = Manifest.build(
        {
            "format": 1,
            "name": "acme/tiny",
            "version": "1.0.0",
            "license": "MIT",
            "model": "model.onnx",
            "files": [{"path": "model.onnx", "size": len(CONTENT), "digest": digest_of(CONTENT)}],
        }
    )
    return Revision(name, "acme", "1.0.0", manifest, Signature((), ()), Batching())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "cache")
    yield bench
    bench.source.open.set()
    await bench.models.close()


async def test_a_model_becomes_ready_and_goes_again(bench: Bench) -> None:
    bench.models.load(revision("a"), 1)
    await bench.reach("a", "READY")
    assert bench.serving == {"a"}
    assert bench.models.used_bytes > 0
    bench.models.unload("a", 1)
    await bench.reach("a", "UNLOADED")
    assert bench.states("a") == ["FETCHING", "LOADING", "READY", "UNLOADING", "UNLOADED"]
    assert bench.serving == set()
    assert bench.models.used_bytes == 0
    assert max(bench.counts) == 1
    assert bench.counts[-1] == 0


async def test_a_load_that_is_repeated_answers_with_the_newer_token(bench: Bench) -> None:
    bench.models.load(revision("a"), 1)
    await bench.reach("a", "READY")
    bench.models.load(revision("a"), 2)
    assert (bench.told[-1].state, bench.told[-1].token) == (ModelState.READY, 2)


async def test_an_unload_ends_a_load_on_its_way(bench: Bench) -> None:
    bench.source.open.clear()
    bench.models.load(revision("a"), 1)
    await bench.reach("a", "FETCHING")
    bench.models.unload("a", 1)
    await bench.reach("a", "UNLOADED")
    assert "READY" not in bench.states("a")
    assert bench.models.statuses == []


async def test_a_failure_is_told_and_forgotten_so_that_it_can_be_tried_again(bench: Bench) -> None:
    bench.source.fails = RuntimeError("a fault of this code")
    bench.models.load(revision("a"), 1)
    await bench.reach("a", "FAILED")
    assert bench.told[-1].error is not None
    assert bench.told[-1].error.reason == "INTERNAL_ERROR"
    assert bench.models.statuses == []
    bench.source.fails = None
    bench.models.load(revision("a"), 1)
    await bench.reach("a", "READY")


async def test_a_source_out_of_reach_is_a_failure_that_may_pass(bench: Bench) -> None:
    bench.source.fails = Unavailable("SERVER_UNREACHABLE", "nobody answers")
    bench.models.load(revision("a"), 1)
    await bench.reach("a", "FAILED")
    assert bench.told[-1].error is not None
    assert bench.told[-1].error.code == "UNAVAILABLE"


async def test_a_smaller_fencing_token_changes_nothing(bench: Bench) -> None:
    bench.models.load(revision("a"), 5)
    await bench.reach("a", "READY")
    told = len(bench.told)
    bench.models.unload("a", 4)
    bench.models.load(revision("b"), 4)
    bench.models.refuse("c", 4, Unavailable("SERVER_UNREACHABLE", "no"))
    assert len(bench.told) == told
    assert bench.serving == {"a"}


async def test_models_load_one_after_the_other(bench: Bench) -> None:
    bench.source.open.clear()
    for name in ("a", "b"):
        bench.models.load(revision(name), 1)
    await bench.reach("a", "FETCHING")
    assert bench.states("b") == []
    bench.source.open.set()
    await bench.reach("b", "READY")
    assert bench.serving == {"a", "b"}


async def test_commands_that_come_while_the_worker_stops_change_nothing(bench: Bench) -> None:
    for name in ("a", "b"):
        bench.models.load(revision(name), 1)
        await bench.reach(name, "READY")
    closing = asyncio.create_task(bench.models.close())
    number = 0
    while not closing.done():
        bench.models.load(revision(f"late{number}"), 1)
        bench.models.unload(f"late{number}", 1)
        number += 1
        await asyncio.sleep(0)
    await closing
    assert number > 1
    assert bench.models.statuses == []
    assert {status.revision for status in bench.told if status.state is ModelState.READY} == {"a", "b"}
    assert bench.counts[-1] == 0
