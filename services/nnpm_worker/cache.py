"""The cache of model files on this host's disk, shared by every worker that is given the same folder.

    files/<hex>            one file each, read-only, named by its SHA-256
    packages/<hex>/...     a package laid out by its manifest's paths: hard links to files/
    partial/<hex>.<pid>.<n>  what is on its way; as large as it will be, locked by who writes it
    locks/<hex>            one a package, locked shared by whoever uses it; its time is the last use
    lock                   held for moments, by whoever changes any of the above

A process that dies lets go of its locks, and what it left half-done is cleared away by the next one. The folder is for
its owner only (0700): what is verified in it cannot be swapped by others.
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nnpm.errors import FailedPrecondition, NnpmError, ResourceExhausted


class Cache:
    """One cache folder. Its methods block on the disk: call them from a thread.

    Args:
        root: made where it does not exist.
        capacity: bytes that all files together may take; what is in use is never evicted.
    """

    def __init__(self, root: Path, capacity: int) -> None:
        self._root = root
        self._capacity = capacity
        with _disk_errors():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = root.stat()
            if owner.st_uid != os.geteuid():
                raise FailedPrecondition(
                    "CACHE_CORRUPT",
                    f"the cache folder {root} belongs to somebody else",
                    hint="set NNPM_WORKER_CACHE_DIR",
                )
            root.chmod(0o700)
            for name in ("files", "packages", "partial", "locks"):
                (root / name).mkdir(mode=0o700, exist_ok=True)

    def use(self, digest: str) -> "PackageUse":
        """Begin to use a package, named by its manifest's digest: nobody evicts it until `close`."""
        hexadecimal = _hex(digest)
        with _disk_errors(), self._locked():
            lock = (self._root / "locks" / hexadecimal).open("wb")
            fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(lock.fileno())
            folder = self._root / "packages" / hexadecimal
            folder.mkdir(mode=0o700, exist_ok=True)
        return PackageUse(folder, lock)

    def link(self, digest: str, use: "PackageUse", path: str) -> bool:
        """Give a package its file: False when the cache does not have that file."""
        with _disk_errors(), self._locked():
            return self._link(digest, use, path)

    def reserve(self, digest: str, size: int) -> "Partial":
        """Room for a file to come, evicting least recently used packages. Raises ResourceExhausted CACHE_FULL."""
        with _disk_errors(), self._locked():
            self._make_room(size)
            path = self._root / "partial" / f"{_hex(digest)}.{os.getpid()}.{secrets.token_hex(4)}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            file = os.fdopen(descriptor, "wb", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            os.truncate(descriptor, size)
            return Partial(path, file)

    def keep(self, partial: "Partial", digest: str, use: "PackageUse", path: str) -> None:
        """Take a finished and verified partial file in, and give it to a package."""
        with _disk_errors(), self._locked():
            partial.path.chmod(0o400)
            partial.path.rename(self._root / "files" / _hex(digest))
            partial.file.close()
            self._link(digest, use, path)

    def discard(self, digest: str) -> None:
        """Forget a file that is not what its name says. A process that has it mapped keeps what it has."""
        with _disk_errors(), self._locked():
            (self._root / "files" / _hex(digest)).unlink(missing_ok=True)

    def _link(self, digest: str, use: "PackageUse", path: str) -> bool:
        source, target = self._root / "files" / _hex(digest), use.folder / path
        if not source.exists():
            return False
        if target.exists() and target.samefile(source) and not target.is_symlink():
            return True
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.hardlink_to(source)
        return True

    def _make_room(self, size: int) -> None:
        self._clear_abandoned()
        missing = self._taken() + size - self._capacity
        missing -= self._drop_unlinked() if missing > 0 else 0
        for hexadecimal in self._by_last_use() if missing > 0 else ():
            if self._evict(hexadecimal):
                missing -= self._drop_unlinked()
            if missing <= 0:
                break
        if missing > 0:
            raise ResourceExhausted(
                "CACHE_FULL",
                f"the cache may take {self._capacity} bytes and has no room for {size} more: all else is in use",
                hint="raise NNPM_WORKER_CACHE_BYTES",
            )

    def _taken(self) -> int:
        return sum(entry.stat().st_size for name in ("files", "partial") for entry in os.scandir(self._root / name))

    def _by_last_use(self) -> list[str]:
        entries = sorted(os.scandir(self._root / "locks"), key=lambda entry: entry.stat().st_mtime_ns)
        return [entry.name for entry in entries]

    def _evict(self, hexadecimal: str) -> bool:
        """Remove a package's folder, unless somebody uses it."""
        lock = self._root / "locks" / hexadecimal
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            shutil.rmtree(self._root / "packages" / hexadecimal, ignore_errors=True)
            lock.unlink()
        return True

    def _drop_unlinked(self) -> int:
        """Remove the files that no package has; returns their bytes."""
        freed = 0
        for entry in os.scandir(self._root / "files"):
            status = entry.stat()
            if status.st_nlink == 1:
                Path(entry.path).unlink()
                freed += status.st_size
        return freed

    def _clear_abandoned(self) -> None:
        for entry in os.scandir(self._root / "partial"):
            with Path(entry.path).open("rb") as file, suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(entry.path).unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Partial:
    """A file on its way into the cache."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.written = 0

    def write(self, block: bytes | memoryview) -> None:
        """Append. Raises ResourceExhausted DISK_FULL."""
        with _disk_errors():
            view = memoryview(block)
            while view:
                view = view[self.file.write(view) :]
        self.written += len(block)

    def abandon(self) -> None:
        """Give it up, unless it was kept."""
        if not self.file.closed:
            self.path.unlink(missing_ok=True)
            self.file.close()


class PackageUse:
    """A package's folder, for as long as it is used."""

    def __init__(self, folder: Path, lock: BinaryIO) -> None:
        self.folder = folder
        self._lock = lock

    def close(self) -> None:
        """It may be evicted from now on."""
        self._lock.close()


def is_plain_file(status: os.stat_result) -> bool:
    """Neither a link nor a device, a pipe or a folder."""
    return stat.S_ISREG(status.st_mode)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except NnpmError:
        raise
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceExhausted(
                "DISK_FULL",
                f"no space is left for the worker's cache: {error}",
                hint="free space, or lower NNPM_WORKER_CACHE_BYTES",
            ) from error
        raise FailedPrecondition("CACHE_CORRUPT", f"the worker's cache is not usable: {error}") from error
