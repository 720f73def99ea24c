"""The shared cache: bounded, never taking what is in use, clean after a crash, and its owner's alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnpm.errors import ResourceExhausted
from nnpm.package.digest import digest_of
from nnpm_worker.cache import Cache, PackageUse


def put(cache: Cache, use: PackageUse, path: str, content: bytes) -> str:
    digest = digest_of(content)
    partial = cache.reserve(digest, len(content))
    partial.write(content)
    cache.keep(partial, digest, use, path)
    return digest


def package(number: int) -> str:
    return digest_of(str(number).encode())


def test_a_file_is_found_again_by_its_digest_under_any_path(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000)
    one, two = cache.use(package(1)), cache.use(package(2))
    digest = put(cache, one, "model.onnx", b"content")
    assert cache.link(digest, two, "deep/er/other.onnx")
    assert (two.folder / "deep/er/other.onnx").samefile(one.folder / "model.onnx")
    assert not cache.link(digest_of(b"unknown"), two, "x")


def test_the_folder_is_its_owners_alone_and_the_files_are_read_only(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o777)
    cache = Cache(tmp_path / "cache", 1000)
    use = cache.use(package(1))
    put(cache, use, "deep/model.onnx", b"content")
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert (use.folder / "deep/model.onnx").stat().st_mode & 0o777 == 0o400
    assert use.folder.stat().st_mode & 0o777 == 0o700


def test_least_recently_used_packages_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    digests = []
    for number in (1, 2, 3):
        use = cache.use(package(number))
        digests.append(put(cache, use, "m", bytes([number]) * 30))
        use.close()
    cache.use(package(1)).close()
    use = cache.use(package(4))
    put(cache, use, "m", b"4" * 30)
    assert [cache.link(digest, use, f"was-{digest[7:12]}") for digest in digests] == [True, False, True]


def test_what_is_in_use_is_never_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    used = cache.use(package(1))
    put(cache, used, "m", b"1" * 80)
    other = cache.use(package(2))
    with pytest.raises(ResourceExhausted) as error:
        cache.reserve(digest_of(b"2" * 30), 30)
    assert error.value.reason == "CACHE_FULL"
    assert (used.folder / "m").read_bytes() == b"1" * 80
    used.close()
    assert put(cache, other, "m", b"2" * 30)
    assert not (used.folder / "m").exists()


def test_what_another_process_uses_is_never_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    use = cache.use(package(1))
    put(cache, use, "m", b"1" * 80)
    use.close()
    holder = _holder(tmp_path / "cache", package(1))
    try:
        with pytest.raises(ResourceExhausted):
            cache.reserve(digest_of(b"2"), 30)
    finally:
        holder.kill()
        holder.wait()
    cache.reserve(digest_of(b"2"), 30)


def test_a_package_whose_files_are_still_to_come_keeps_those_that_came(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    use = cache.use(package(1))
    put(cache, use, "a", b"a" * 50)
    put(cache, use, "b", b"b" * 50)
    with pytest.raises(ResourceExhausted):
        cache.reserve(digest_of(b"c"), 1)
    assert (use.folder / "a").exists()


def test_room_is_kept_for_what_is_on_its_way(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    partial = cache.reserve(digest_of(b"1"), 60)
    with pytest.raises(ResourceExhausted):
        cache.reserve(digest_of(b"2"), 60)
    partial.abandon()
    cache.reserve(digest_of(b"2"), 60)


def test_what_a_dead_process_left_half_done_is_cleared_away(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    left = tmp_path / "cache" / "partial" / "abc.1.2"
    left.write_bytes(b"x" * 90)
    cache.reserve(digest_of(b"1"), 60)
    assert not left.exists()


def test_a_file_of_several_packages_goes_with_the_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    one, two = cache.use(package(1)), cache.use(package(2))
    digest = put(cache, one, "m", b"1" * 60)
    cache.link(digest, two, "m")
    one.close()
    with pytest.raises(ResourceExhausted):
        cache.reserve(digest_of(b"2"), 60)
    two.close()
    cache.reserve(digest_of(b"2"), 60)


def test_a_link_planted_in_a_package_is_replaced(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000)
    use = cache.use(package(1))
    digest = put(cache, use, "m", b"content")
    (use.folder / "m").unlink()
    (tmp_path / "secret").write_bytes(b"secret")
    (use.folder / "m").symlink_to(tmp_path / "secret")
    assert cache.link(digest, use, "m")
    assert not (use.folder / "m").is_symlink()
    assert (use.folder / "m").read_bytes() == b"content"


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1 << 40)
    partial = cache.reserve(digest_of(b"1"), 10)
    partial.file.close()
    partial.file = open("/dev/full", "wb", buffering=0)  # noqa: PTH123, SIM115 -- a file that is always full
    with pytest.raises(ResourceExhausted) as error:
        partial.write(b"x")
    assert error.value.reason == "DISK_FULL"


def _holder(root: Path, digest: str) -> "subprocess.Popen[bytes]":
    """Another process that uses a package."""
    code = (
        "import sys, time; from pathlib import Path; from nnpm_worker.cache import Cache\n"
        f"use = Cache(Path({str(root)!r}), 100).use({digest!r}); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process
