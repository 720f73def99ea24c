"""PostgreSQL restarted under load: a publish is whole or absent, its client knows which, a retry does no harm."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnpm.api.registry.v1 import package_pb2
from nnpm.api.registry.v1 import registry_pb2 as pb
from nnpm.errors import Aborted, FailedPrecondition, NotFound, Unavailable
from nnpm.package.manifest import Manifest
from support.artifact import content, digest
from support.artifact_process import ArtifactProcess
from support.postgres_server import PostgresServer
from support.processes import wait_healthy
from support.registry import SERVICE, Publisher, RegistryProcess, manifest
from support.waiting import eventually

READY = package_pb2.VERSION_STATE_READY
PUBLISHES = 100
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}


@dataclass(frozen=True, slots=True)
class Publication:
    """One version of a package of its own, whose model the registry does not read: the database is what is tried."""

    number: int

    @property
    def files(self) -> dict[str, bytes]:
        return {"model.onnx": content(20_000, seed=self.number)}

    @property
    def manifest(self) -> Manifest:
        declared = {"framework": "other", "runtime": "other", "inputs": [TENSOR], "outputs": [TENSOR]}
        return manifest(self.files, f"acme/p{self.number}", **declared)

    async def publish(self, publisher: Publisher) -> package_pb2.Version:
        request_id = f"publish-{self.number}"
        await publisher.draft(self.manifest, request_id)
        (data,) = self.files.values()
        await publisher.artifact.put(data, "acme", request_id)
        return await publisher.commit(self.manifest)


@pytest.fixture
async def services(
    tmp_path: Path, own_postgres: PostgresServer
) -> AsyncIterator[tuple[ArtifactProcess, RegistryProcess]]:
    """Both services over databases of `own_postgres`."""
    artifact_settings = {"NNPM_ARTIFACT_DATABASE_URL": own_postgres.make_database()}
    (tmp_path / "registry").mkdir()
    artifact = ArtifactProcess(tmp_path, artifact_settings)
    registry_settings = {"NNPM_REGISTRY_DATABASE_URL": own_postgres.make_database()}
    registry = RegistryProcess(tmp_path / "registry", artifact.address, registry_settings)
    try:
        yield artifact.start(), registry.start()
    finally:
        registry.end()
        artifact.end()


@pytest.fixture
async def publishers(services: tuple[ArtifactProcess, RegistryProcess]) -> AsyncIterator[list[Publisher]]:
    """Ten clients, each with connections of its own."""
    artifact, registry = services
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Publisher.connected(registry.address, artifact.address)) for _ in range(10)
        ]


async def test_a_hundred_publishes_through_restarts_are_whole_or_absent_and_retried_without_harm(
    own_postgres: PostgresServer, publishers: list[Publisher]
) -> None:
    token = await _first_token(publishers[0])
    wanted = [Publication(number) for number in range(PUBLISHES)]
    attempts = [asyncio.create_task(one.publish(publishers[one.number % len(publishers)])) for one in wanted]
    for share, end in ((0.2, "kill"), (0.5, "shut_down"), (0.7, "kill")):
        await eventually(lambda share=share: sum(map(asyncio.Task.done, attempts)) >= share * PUBLISHES, 120)
        await asyncio.to_thread(getattr(own_postgres, end))
        await asyncio.to_thread(own_postgres.start)
    outcomes = await asyncio.wait_for(asyncio.gather(*attempts, return_exceptions=True), 200)

    # Whoever was told that it is published, has it whole; whoever was told of an error, finds out by asking.
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(error, Unavailable | Aborted | FailedPrecondition) for error in failed), failed
    told = [isinstance(outcome, package_pb2.Version) and outcome.state == READY for outcome in outcomes]
    for one, published in zip(wanted, told, strict=True):
        found = await _state(publishers[0], one)
        assert found == READY or not published
        if found == READY:
            await _is_whole(publishers[0], one)

    # The same again, with the same request ids.
    await asyncio.gather(*(_until_ready(one, publishers[one.number % len(publishers)]) for one in wanted))
    for one in wanted:
        await _is_whole(publishers[0], one)
    committed = [name async for name in _committed(publishers[0], token, PUBLISHES)]
    assert sorted(committed) == sorted(one.manifest.name for one in wanted)


async def test_services_wait_for_a_postgresql_that_is_not_there_yet(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    url = own_postgres.make_database()
    await asyncio.to_thread(own_postgres.shut_down)
    registry = RegistryProcess(tmp_path, "127.0.0.1:1", {"NNPM_REGISTRY_DATABASE_URL": url})
    try:
        registry.process.start()
        await eventually(lambda: "waiting for the database" in registry.process.output, 60)
        await asyncio.to_thread(own_postgres.start)
        await asyncio.to_thread(wait_healthy, registry.address, SERVICE, process=registry.process)
        assert registry.process.output.count("waiting for the database") == 1
        assert "the database is there" in registry.process.output
        assert "Traceback" not in registry.process.output
    finally:
        registry.end()


async def _until_ready(one: Publication, publisher: Publisher) -> None:
    async def ready() -> bool:
        try:
            return (await one.publish(publisher)).state == READY
        except (Unavailable, Aborted, FailedPrecondition):
            return False

    await eventually(ready, 60, what=f"{one.manifest.name} is published")


async def _state(publisher: Publisher, one: Publication) -> int:
    try:
        return int((await publisher.get("1.0.0", one.manifest.name)).state)
    except NotFound:
        return package_pb2.VERSION_STATE_UNSPECIFIED


async def _is_whole(publisher: Publisher, one: Publication) -> None:
    version = await publisher.get("1.0.0", one.manifest.name)
    assert version.digest == one.manifest.digest()
    (data,) = one.files.values()
    assert await publisher.artifact.read(digest(data)) == data


async def _first_token(publisher: Publisher) -> str:
    async for response in publisher.stub.WatchEvents(pb.WatchEventsRequest(), timeout=30):
        return str(response.resume_token)
    raise AssertionError("the stream ended")


async def _committed(publisher: Publisher, token: str, count: int) -> AsyncIterator[str]:
    """The packages of the commits since the token."""
    seen = 0
    async for response in publisher.stub.WatchEvents(pb.WatchEventsRequest(resume_token=token), timeout=60):
        if response.HasField("event"):
            if response.event.type == package_pb2.EVENT_TYPE_VERSION_COMMITTED:
                seen += 1
                yield response.event.package
        elif seen >= count:  # a token alone: nothing is behind it
            return
