import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from nnpm.api.artifact.v1 import artifact_pb2
from nnpm.client.connection import Connection
from nnpm.client.install import Installer
from nnpm.client.records import Progress, Version, ignore_progress
from nnpm.client.upload import LocalFile, Upload
from nnpm.errors import DataLoss, InvalidArgument, NotFound
from nnpm.package.manifest import Manifest
from support.artifact_process import ArtifactProcess
from support.files import chunked


async def stored(
    connection: Connection, threads: ThreadPoolExecutor, folder: Path, contents: dict[str, bytes]
) -> Version:
    """A version with these files, which the artifact service has."""
    files = []
    for name, content in contents.items():
        path = folder / name.replace("/", "_")
        path.write_bytes(content)
        files.append((name, LocalFile(path, chunked(path))))
    opened = await connection.artifact.CreateUpload(artifact_pb2.CreateUploadRequest(namespace="acme"))
    await Upload(connection.artifact, opened.upload_id, threads, ignore_progress).store([file for _, file in files])
    return version_of([{"path": name, "size": file.cut.size, "digest": file.cut.digest} for name, file in files])


def version_of(files: list[dict[str, object]]) -> Version:
    manifest = Manifest.build(
        {
            "name": "acme/tiny",
            "version": "1.0.0",
            "license": "MIT",
            "model": files[0]["path"],
            "files": sorted(files, key=lambda file: str(file["path"])),
        }
    )
    return Version(
        package="acme/tiny",
        version="1.0.0",
        digest=manifest.digest(),
        state="ready",
        size=manifest.size,
        license="MIT",
        yanked=False,
        yank_reason="",
        published=None,
        inputs=(),
        outputs=(),
        opsets={},
        producer="",
        manifest=manifest.canonical(),
    )


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_version_is_installed_whole(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    contents = {"model.onnx": random.Random(1).randbytes(3_000_000), "labels/en.txt": b"cat\n", "empty": b""}
    version = await stored(artifact_connection, threads, tmp_path, contents)
    done = await Installer(artifact_connection, threads).install(version, tmp_path / "to", ignore_progress)
    assert files_below(tmp_path / "to") == contents
    assert done.downloaded_bytes == done.total_bytes == 3_000_004


async def test_what_is_there_and_right_is_not_downloaded_again(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    contents = {"model.onnx": random.Random(2).randbytes(2_000_000), "other": b"other"}
    version = await stored(artifact_connection, threads, tmp_path, contents)
    installer = Installer(artifact_connection, threads)
    await installer.install(version, tmp_path / "to", ignore_progress)
    (tmp_path / "to" / "other").write_bytes(b"wrong")
    done = await installer.install(version, tmp_path / "to", ignore_progress)
    assert done.downloaded_bytes == len(b"other")
    assert files_below(tmp_path / "to") == contents


async def test_an_interrupted_install_goes_on_where_it_was(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    contents = {"model.onnx": random.Random(3).randbytes(100 << 20)}
    version = await stored(artifact_connection, threads, tmp_path, contents)
    installer = Installer(artifact_connection, threads)
    half = asyncio.Event()
    task = asyncio.ensure_future(
        installer.install(version, tmp_path / "to", lambda state: half.set() if state.done > 50 << 20 else None)
    )
    async with asyncio.timeout(60):
        await half.wait()
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()
    assert not (tmp_path / "to" / "model.onnx").exists()
    done = await installer.install(version, tmp_path / "to", ignore_progress)
    assert 0 < done.downloaded_bytes < 60 << 20
    assert files_below(tmp_path / "to") == contents


async def test_a_spoilt_part_is_not_trusted(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    contents = {"model.onnx": random.Random(4).randbytes(4_000_000)}
    version = await stored(artifact_connection, threads, tmp_path, contents)
    digest = Manifest.parse(version.manifest).files[0].digest
    parts = tmp_path / "to" / ".nnpm-parts"
    parts.mkdir(parents=True)
    right = contents["model.onnx"][:2_000_000]
    (parts / digest.removeprefix("sha256:")).write_bytes(right + b"?" * 3_000_000)
    done = await Installer(artifact_connection, threads).install(version, tmp_path / "to", ignore_progress)
    assert 2_000_000 <= done.downloaded_bytes < 2_300_000
    assert files_below(tmp_path / "to") == contents


async def test_a_killed_service_does_not_break_an_install(
    own_artifact: ArtifactProcess, artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    contents = {"model.onnx": random.Random(5).randbytes(150 << 20)}
    version = await stored(artifact_connection, threads, tmp_path, contents)
    begun = asyncio.Event()

    def watch(state: Progress) -> None:
        if state.done > 20 << 20:
            begun.set()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(Installer(artifact_connection, threads).install(version, tmp_path / "to", watch))
        await begun.wait()
        own_artifact.kill()
        await asyncio.to_thread(own_artifact.start)
    assert files_below(tmp_path / "to") == contents


async def test_a_manifest_that_is_not_its_digest_is_refused(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    version = await stored(artifact_connection, threads, tmp_path, {"model.onnx": b"x"})
    other = version_of([{"path": "model.onnx", "size": 2, "digest": "sha256:" + "0" * 64}])
    bent = Version(**{name: getattr(version, name) for name in Version.__slots__} | {"manifest": other.manifest})
    with pytest.raises(DataLoss) as caught:
        await Installer(artifact_connection, threads).install(bent, tmp_path / "to", ignore_progress)
    assert caught.value.reason == "CONTENT_MISMATCH"


async def test_a_file_that_is_gone_is_said_to_be(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    version = version_of([{"path": "model.onnx", "size": 2, "digest": "sha256:" + "0" * 64}])
    with pytest.raises(NotFound):
        await Installer(artifact_connection, threads).install(version, tmp_path / "to", ignore_progress)


async def test_a_link_out_of_the_folder_is_not_followed(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    version = await stored(artifact_connection, threads, tmp_path, {"data/model.onnx": b"x"})
    (tmp_path / "to").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "to" / "data").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidArgument) as caught:
        await Installer(artifact_connection, threads).install(version, tmp_path / "to", ignore_progress)
    assert caught.value.reason == "INVALID_PATH"
    assert list((tmp_path / "outside").iterdir()) == []


async def test_the_manifest_of_another_version_is_refused(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    version = await stored(artifact_connection, threads, tmp_path, {"model.onnx": b"x"})
    for lie in ({"version": "1.0.1"}, {"package": "acme/other"}):
        with pytest.raises(DataLoss) as caught:
            await Installer(artifact_connection, threads).install(
                replace(version, **lie), tmp_path / "to", ignore_progress
            )
        assert caught.value.reason == "CONTENT_MISMATCH"
    assert not (tmp_path / "to").exists()


async def test_part_files_go_through_no_link(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    version = await stored(artifact_connection, threads, tmp_path, {"model.onnx": b"x"})
    (tmp_path / "to").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "to" / ".nnpm-parts").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidArgument) as caught:
        await Installer(artifact_connection, threads).install(version, tmp_path / "to", ignore_progress)
    assert caught.value.reason == "INVALID_PATH"
    assert list((tmp_path / "outside").iterdir()) == []


async def test_a_folder_where_a_file_goes_is_named(
    artifact_connection: Connection, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    version = await stored(artifact_connection, threads, tmp_path, {"model.onnx": b"x"})
    (tmp_path / "to" / "model.onnx").mkdir(parents=True)
    with pytest.raises(InvalidArgument) as caught:
        await Installer(artifact_connection, threads).install(version, tmp_path / "to", ignore_progress)
    assert str(tmp_path / "to" / "model.onnx") in caught.value.message
