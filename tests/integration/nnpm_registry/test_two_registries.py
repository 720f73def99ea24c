"""Two registry processes on one database: what one does the other knows, and no event is lost, doubled or overtaken."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from nnpm.api.registry.v1 import package_pb2
from nnpm.api.registry.v1 import registry_pb2 as pb
from nnpm.errors import AlreadyExists
from support import models
from support.artifact_process import ArtifactProcess
from support.registry import Publisher, RegistryProcess, manifest
from support.waiting import eventually

READY = package_pb2.VERSION_STATE_READY
PUBLISHES = 24


@pytest.fixture
def registries(tmp_path: Path, artifact: ArtifactProcess, database_url: str) -> Iterator[list[RegistryProcess]]:
    """Two processes that begin at once on an empty database."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(RegistryProcess(tmp_path / name, artifact.address, {"NNPM_REGISTRY_DATABASE_URL": database_url}))
    try:
        for registry in made:
            registry.process.start()
        yield [registry.wait() for registry in made]
    finally:
        for registry in made:
            registry.end()


@pytest.fixture
async def publishers(registries: list[RegistryProcess], artifact: ArtifactProcess) -> AsyncIterator[list[Publisher]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Publisher.connected(registry.address, artifact.address))
            for registry in registries
        ]


async def events(publisher: Publisher, token: str, count: int) -> list[tuple[str, str]]:
    """The first so many commits behind a token."""
    seen: list[tuple[str, str]] = []
    async for response in publisher.stub.WatchEvents(pb.WatchEventsRequest(resume_token=token), timeout=60):
        if response.HasField("event") and response.event.type == package_pb2.EVENT_TYPE_VERSION_COMMITTED:
            seen.append((response.event.package, response.event.version))
            if len(seen) == count:
                break
    return seen


async def first_token(publisher: Publisher) -> str:
    async for response in publisher.stub.WatchEvents(pb.WatchEventsRequest(), timeout=30):
        return str(response.resume_token)
    raise AssertionError("the stream ended")


async def test_watchers_of_both_see_what_both_publish_in_one_order(publishers: list[Publisher]) -> None:
    token = await first_token(publishers[0])
    watching = [asyncio.create_task(events(publisher, token, PUBLISHES)) for publisher in publishers]
    model = models.linear().SerializeToString()
    await asyncio.gather(
        *(publishers[number % 2].publish(model, f"acme/p{number % 5}", f"1.0.{number}") for number in range(PUBLISHES))
    )
    one, two = await asyncio.gather(*watching)
    assert one == two
    assert len(set(one)) == PUBLISHES
    latest = [(await publisher.resolve("latest", "acme/p0")).version.version for publisher in publishers]
    assert latest == ["1.0.20", "1.0.20"]


async def test_one_number_published_twice_at_once_is_one_version(publishers: list[Publisher]) -> None:
    contents = [models.linear(seed=seed).SerializeToString() for seed in (1, 2)]
    for number in range(6):
        outcomes = await asyncio.gather(
            *(
                publisher.publish(content, version=f"{number}.0.0")
                for publisher, content in zip(publishers, contents, strict=True)
            ),
            return_exceptions=True,
        )
        ready = [outcome for outcome in outcomes if isinstance(outcome, package_pb2.Version) and outcome.state == READY]
        assert len(ready) == 1, outcomes
        assert {(await publisher.get(f"{number}.0.0")).digest for publisher in publishers} == {ready[0].digest}


async def test_the_same_published_through_both_at_once_is_one_version(publishers: list[Publisher]) -> None:
    files = {"model.onnx": models.linear().SerializeToString()}
    wanted = manifest(files)
    await publishers[0].upload(files)
    drafted = await asyncio.gather(*(publisher.draft(wanted, "the-same") for publisher in publishers))
    assert {draft.digest for draft in drafted} == {wanted.digest()}
    await asyncio.gather(*(publisher.commit(wanted) for publisher in publishers))

    async def ready() -> bool:
        return all([(await publisher.get()).state == READY for publisher in publishers])

    await eventually(ready, 30)
    with pytest.raises(AlreadyExists):
        await publishers[1].publish(models.linear(seed=9).SerializeToString())


async def test_a_commit_whose_registry_is_killed_is_ended_by_the_other(
    registries: list[RegistryProcess], publishers: list[Publisher]
) -> None:
    files = {"model.onnx": models.linear().SerializeToString()}
    wanted = manifest(files)
    await publishers[0].draft(wanted)
    await publishers[0].upload(files)
    commit = asyncio.create_task(publishers[0].commit(wanted))

    async def begun() -> bool:
        return commit.done() or (await publishers[1].get()).state == package_pb2.VERSION_STATE_VALIDATING

    await eventually(begun)
    registries[0].process.kill()
    await asyncio.gather(commit, return_exceptions=True)

    async def ready() -> bool:
        return (await publishers[1].get()).state == READY

    await eventually(ready, 30)
