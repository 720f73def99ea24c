"""kill -9 and outages: what was published stays, what was begun is ended, nothing is half there."""

import asyncio
import sqlite3
from pathlib import Path

import grpc
import pytest

from nnpm.api.registry.v1 import package_pb2
from nnpm.api.registry.v1 import registry_pb2 as pb
from nnpm.errors import NnpmError, Unavailable
from support import models
from support.artifact_process import ArtifactProcess
from support.registry import SERVICE, Publisher, RegistryProcess, manifest
from support.waiting import eventually

READY = package_pb2.VERSION_STATE_READY
VALIDATING, DRAFT = package_pb2.VERSION_STATE_VALIDATING, package_pb2.VERSION_STATE_DRAFT


async def begun(publisher: Publisher, version: str = "1.0.0", seed: int = 0) -> "asyncio.Task[package_pb2.Version]":
    """A commit that is under way."""
    files = {"model.onnx": models.linear(seed=seed).SerializeToString()}
    wanted = manifest(files, version=version)
    await publisher.draft(wanted)
    await publisher.upload(files)
    commit = asyncio.create_task(publisher.commit(wanted))

    async def validating() -> bool:
        return commit.done() or (await publisher.get(version)).state == VALIDATING

    await eventually(validating)
    return commit


async def test_a_commit_whose_registry_is_killed_is_ended_by_the_next(
    publisher: Publisher, registry: RegistryProcess
) -> None:
    commit = await begun(publisher)
    registry.process.kill()
    registry.start()
    with_error = (await asyncio.gather(commit, return_exceptions=True))[0]
    assert isinstance(with_error, NnpmError | package_pb2.Version)

    async def ready() -> bool:
        return (await publisher.get()).state == READY

    await eventually(ready, 20)
    assert (await publisher.resolve("^1")).version.version == "1.0.0"


async def test_a_commit_whose_caller_goes_away_is_ended_all_the_same(publisher: Publisher) -> None:
    commit = await begun(publisher)
    commit.cancel()

    async def ready() -> bool:
        return (await publisher.get()).state == READY

    await eventually(ready, 20)


async def test_what_is_published_survives_kills_and_events_are_neither_lost_nor_doubled(
    publisher: Publisher, registry: RegistryProcess
) -> None:
    seen: list[tuple[str, str]] = []
    token = ""

    async def watch() -> None:
        nonlocal token
        while True:
            request = pb.WatchEventsRequest(resume_token=token)
            try:
                async for response in publisher.stub.WatchEvents(request):
                    token = response.resume_token
                    if response.HasField("event") and not response.event.tag:
                        seen.append((response.event.package, response.event.version))
            except Unavailable:
                await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    await eventually(lambda: token)
    published = []
    for number in range(3):
        version = f"1.{number}.0"
        assert (await publisher.publish(models.constant_version(number), version=version)).state == READY
        published.append(("acme/tiny", version))
        registry.process.kill()
        registry.start()
    await eventually(lambda: len(seen) >= len(published), 15)
    watching.cancel()
    assert seen == published
    listed = await publisher.stub.ListVersions(pb.ListVersionsRequest(package="acme/tiny"))
    assert [each.version for each in reversed(listed.versions)] == [version for _, version in published]


async def test_while_the_artifact_service_is_down_a_commit_says_so_and_works_afterwards(
    publisher: Publisher, artifact: ArtifactProcess
) -> None:
    files = {"model.onnx": models.linear().SerializeToString()}
    wanted = manifest(files)
    await publisher.draft(wanted)
    await publisher.upload(files)
    artifact.kill()
    with pytest.raises(Unavailable) as caught:
        await publisher.commit(wanted)
    assert caught.value.reason == "ARTIFACT_UNREACHABLE"
    assert caught.value.hint
    assert (await publisher.get()).state in (DRAFT, VALIDATING)
    artifact.start()

    async def ready() -> bool:
        return (await publisher.commit(wanted)).state == READY

    await eventually(ready, 20)


async def test_a_killed_registry_leaves_no_inspection_behind(publisher: Publisher, registry: RegistryProcess) -> None:
    commit = await begun(publisher)
    pid = registry.process.pid
    registry.process.kill()

    def orphans() -> list[str]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"nnpm_registry.inspection" in command and str(pid).encode() in command:
                found.append(folder.name)
        return found

    await eventually(lambda: not orphans())
    await asyncio.gather(commit, return_exceptions=True)


def test_a_newer_database_is_refused_in_one_line(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "registry.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    process = RegistryProcess(tmp_path, "127.0.0.1:1").process
    with process:
        assert process.wait() == 1
    assert "DATABASE_TOO_NEW" in process.output
    assert "Traceback" not in process.output


def test_the_registry_stops_at_once_while_somebody_watches(registry: RegistryProcess) -> None:
    with grpc.insecure_channel(registry.address) as channel:
        watch = channel.unary_stream(
            f"/{SERVICE}/WatchEvents",
            request_serializer=pb.WatchEventsRequest.SerializeToString,
            response_deserializer=pb.WatchEventsResponse.FromString,
        )
        responses = watch(pb.WatchEventsRequest())
        assert next(responses).resume_token
        assert registry.process.stop(5) == 0
