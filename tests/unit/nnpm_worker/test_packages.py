"""A package on this host: fetched once, verified on arrival and on use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nnpm.errors import DataLoss, ResourceExhausted, Unavailable
from nnpm.package.digest import digest_of
from nnpm.package.manifest import Manifest
from nnpm.telemetry.metrics import Metrics
from nnpm_worker.cache import Cache
from nnpm_worker.packages import Package, Packages

FILES = {"model.onnx": b"the graph" * 1000, "data/weights.bin": bytes(range(256)) * 10_000}


class Source:
    """Gives files in small blocks, and breaks off when told to."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = {digest_of(content): content for content in files.values()}
        self.reads: list[tuple[str, int]] = []
        self.breaks = 0

    async def read(self, namespace: str, digest: str, offset: int) -> AsyncIterator[bytes]:
        self.reads.append((digest, offset))
        content = self.files[digest]
        for start in range(offset, len(content), 100_000):
            yield content[start : start + 100_000]
            if self.breaks:
                self.breaks -= 1
                raise Unavailable("SERVER_UNREACHABLE", "broken")


def manifest(files: dict[str, bytes]) -> Manifest:
    return Manifest.build(
        {
            "format": 1,
            "name": "acme/tiny",
            "version": "1.0.0",
            "license": "MIT",
            "model": "model.onnx",
            "files": [
                {"path": path, "size": len(files[path]), "digest": digest_of(files[path])} for path in sorted(files)
            ],
        }
    )


def packages(tmp_path: Path, source: Source, capacity: int = 1 << 30) -> Packages:
    return Packages(Cache(tmp_path / "cache", capacity), source, Metrics())


async def opened(tmp_path: Path, source: Source) -> Package:
    return await packages(tmp_path, source).open("acme", manifest(FILES))


async def test_files_lie_where_the_manifest_says(tmp_path: Path) -> None:
    package = await opened(tmp_path, Source(FILES))
    found = {str(path.relative_to(package.folder)): path.read_bytes() for path in package.folder.rglob("*.*")}
    assert found == FILES
    package.check_unchanged()


async def test_a_second_use_fetches_nothing(tmp_path: Path) -> None:
    source = Source(FILES)
    (await opened(tmp_path, source)).close()
    reads = len(source.reads)
    package = await opened(tmp_path, source)
    assert len(source.reads) == reads
    package.check_unchanged()


async def test_a_broken_stream_goes_on_where_it_broke(tmp_path: Path) -> None:
    source = Source(FILES)
    source.breaks = 2
    await opened(tmp_path, source)
    weights = [offset for digest, offset in source.reads if digest == digest_of(FILES["data/weights.bin"])]
    assert weights == [0, 100_000, 200_000]


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c + b"x", lambda c: b"X" + c[1:], lambda c: b""])
async def test_other_bytes_than_the_digest_names_are_refused(tmp_path: Path, damage: object) -> None:
    source = Source(FILES)
    digest = digest_of(FILES["model.onnx"])
    source.files[digest] = damage(FILES["model.onnx"])  # type: ignore[operator]
    with pytest.raises(DataLoss) as error:
        await opened(tmp_path, source)
    assert error.value.reason == "CONTENT_MISMATCH"
    assert not (tmp_path / "cache" / "files" / digest[7:]).exists()


async def test_a_cached_file_that_rotted_is_noticed_and_fetched_again(tmp_path: Path) -> None:
    source = Source(FILES)
    package = await opened(tmp_path, source)
    package.close()
    rotten = package.folder / "model.onnx"
    rotten.chmod(0o600)
    rotten.write_bytes(b"rotten")
    again = await opened(tmp_path, source)
    assert (again.folder / "model.onnx").read_bytes() == FILES["model.onnx"]
    again.check_unchanged()


@pytest.mark.parametrize("how", ["rewritten", "replaced", "linked", "removed"])
async def test_a_file_that_is_swapped_between_check_and_use_is_noticed(tmp_path: Path, how: str) -> None:
    package = await opened(tmp_path, Source(FILES))
    victim = package.folder / "model.onnx"
    other = tmp_path / "other"
    other.write_bytes(b"evil")
    if how == "rewritten":
        victim.chmod(0o600)
        victim.write_bytes(b"x" * len(FILES["model.onnx"]))
    else:
        victim.unlink()
    if how == "replaced":
        other.rename(victim)
    if how == "linked":
        victim.symlink_to(other)
    with pytest.raises(DataLoss) as error:
        package.check_unchanged()
    assert error.value.reason == "CACHE_CORRUPT"


async def test_another_worker_that_lays_out_the_same_file_is_no_alarm(tmp_path: Path) -> None:
    source = Source(FILES)
    package = await opened(tmp_path, source)
    other = {**FILES, "readme.md": b"more"}
    source.files[digest_of(b"more")] = b"more"
    await packages(tmp_path, source).open("acme", manifest(other))
    package.check_unchanged()


async def test_a_model_larger_than_the_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted) as error:
        await packages(tmp_path, Source(FILES), capacity=1000).open("acme", manifest(FILES))
    assert error.value.reason == "CACHE_FULL"
