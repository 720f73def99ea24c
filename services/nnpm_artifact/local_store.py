"""Packs in a local directory.

A pack is written in `staging/`, flushed to the disk, linked to its name (which fails if the name is taken, and shows
the file whole or not at all), and the directory is flushed too: a name that can be seen survives a loss of power.
"""

import fcntl
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from nnpm.errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound, Unavailable
from nnpm_artifact.disk import check_space, disk_errors
from nnpm_artifact.pack_store import StoredPack
from nnpm_artifact.staged import Staged, StagedFile, stage_file

_SUFFIX = ".pack"


class LocalStore:
    """The pack store in a directory. One process at a time: a lock file says so."""

    def __init__(self, root: Path) -> None:
        """Open (and create) the directory. Raises FailedPrecondition STORE_IN_USE when another process has it."""
        self._root = root.resolve()
        self._staging = self._root / "staging"
        with disk_errors(self._root / "*"):
            self._root.mkdir(parents=True, exist_ok=True)
            self._lock = self._take_lock()
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir()

    @property
    def staging(self) -> Path:
        return self._staging

    def stage(self, limit: int | None) -> StagedFile:
        return stage_file(self._staging)

    def put(self, name: str, staged: Staged) -> bool:
        assert isinstance(staged, StagedFile)  # noqa: S101 -- see `stage`
        path, target = staged.path, self._path(name)
        with disk_errors(target):
            self._make_folder(target.parent)
            _sync(path)
            if _crc32(staged) != staged.crc32:
                raise _refused(name)
            try:
                os.link(path, target)
            except FileExistsError:
                raise AlreadyExists("PACK_EXISTS", f"pack {name} is there already", metadata={"pack": name}) from None
            _sync(target.parent)
        return True

    def read(self, name: str, offset: int, length: int) -> bytes:
        path = self._path(name)
        with disk_errors(path):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise _not_found(name) from None
            try:
                data = os.pread(descriptor, length, offset)
            finally:
                os.close(descriptor)
        if len(data) < length:
            raise DataLoss("PACK_CORRUPT", f"pack {name} ends at byte {offset + len(data)}", metadata={"pack": name})
        return data

    @property
    def shares(self) -> bool:
        return False

    def share(self, name: str, offset: int, length: int) -> str:
        raise NotImplementedError("a local directory has no URLs")

    def size(self, name: str) -> int:
        path = self._path(name)
        with disk_errors(path):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                raise _not_found(name) from None

    def list(self, prefix: str) -> Iterator[StoredPack]:
        base = self._root / prefix.partition("/")[0]
        with disk_errors(base):
            for folder, _, files in os.walk(base):
                for file in files:
                    path = Path(folder, file)
                    name = path.relative_to(self._root).as_posix().removesuffix(_SUFFIX)
                    if file.endswith(_SUFFIX) and name.startswith(prefix):
                        yield StoredPack(name, path.stat().st_size)

    def delete(self, name: str) -> None:
        path = self._path(name)
        with disk_errors(path):
            path.unlink(missing_ok=True)

    def check_space(self, wanted: int) -> None:
        check_space(self._root, wanted)

    def check(self) -> None:
        with disk_errors(self._staging):
            self._staging.stat()

    def close(self) -> None:
        os.close(self._lock)

    def _path(self, name: str) -> Path:
        return self._root / f"{name}{_SUFFIX}"

    def _take_lock(self) -> int:
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FailedPrecondition(
                "STORE_IN_USE",
                f"another artifact service has the store {self._root} open",
                hint="stop it, or give this one a store of its own (NNPM_ARTIFACT_STORE)",
            ) from None
        return descriptor

    def _make_folder(self, folder: Path) -> None:
        """Create a pack's folder durably: each new level is flushed in its parent."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _crc32(staged: Staged) -> int:
    checksum = 0
    for block in staged:
        checksum = zlib.crc32(block, checksum)
    return checksum


def _refused(name: str) -> Unavailable:
    return Unavailable("STORE_UNAVAILABLE", f"pack {name} was changed on its way to the disk", retry_after=5)


def _not_found(name: str) -> NotFound:
    return NotFound("PACK_NOT_FOUND", f"the store has no pack {name}", metadata={"pack": name})
