"""The data folder of one mesh: what lies where, its format version, and the lock that makes it one mesh's own."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import platformdirs

from nnpm.errors import FailedPrecondition

if os.name == "posix":
    import fcntl

FORMAT = 1
"""The version of the layout that this module describes."""

Migration = Callable[[Path], None]
"""Rewrites a folder in place, from one format to the next. May run twice: its record comes after it."""

MIGRATIONS: Mapping[int, Migration] = MappingProxyType({})
"""Format -> how to get from it to the next one."""

LOCK_PATIENCE = 1.0
"""Seconds that a lock is waited for: somebody who only looks whether a mesh runs holds it for an instant."""


def default_data_folder() -> Path:
    """Where `nnpm up` keeps its data when nothing else is said."""
    return platformdirs.user_data_path("nnpm") / "mesh"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The paths under one data folder; `root` is absolute. Making one touches no disk."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "DataFolder":
        """The folder at `path`, which may start with `~` and need not exist."""
        return cls(path.expanduser().resolve())

    @property
    def format_file(self) -> Path:
        return self.root / "format"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"

    @property
    def state_file(self) -> Path:
        return self.root / "mesh.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def packs(self) -> Path:
        return self.root / "artifact" / "packs"

    @property
    def worker_cache(self) -> Path:
        return self.root / "worker" / "cache"

    def database_url(self, service: str) -> str:
        """The SQLAlchemy URL of a service's SQLite file: `registry` -> `sqlite:////DATA/registry/registry.db`."""
        return f"sqlite:///{self.root / service / f'{service}.db'}"

    def log_file(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    def prepare(self, migrations: Mapping[int, Migration] = MIGRATIONS, current: int = FORMAT) -> None:
        """Make the folder ready for use: create what is missing, bring an older format up to date.

        Call it while holding the folder's lock.

        Raises:
            FailedPrecondition: DATA_FOLDER_NEWER when a newer nnpm wrote it; DATA_FOLDER_UNUSABLE when it is damaged.
        """
        found = self._read_format(default=current)
        if found > current:
            raise FailedPrecondition(
                "DATA_FOLDER_NEWER",
                f"{self.root} has format {found}, and this nnpm knows formats up to {current}",
                hint="upgrade nnpm, or use another folder with --data",
                metadata={"data": str(self.root), "format": str(found), "supported": str(current)},
            )
        for version in range(found, current):
            migrations[version](self.root)
            self._write_format(version + 1)
        if not self.format_file.exists():
            self._write_format(current)
        folders = [self.root / name for name in ("registry", "artifact", "scheduler")]
        for folder in (*folders, self.packs, self.redis, self.worker_cache, self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    def _read_format(self, default: int) -> int:
        try:
            text = self.format_file.read_bytes()
        except FileNotFoundError:
            return default
        except OSError as error:
            raise self._damaged(f"{self.format_file} can't be read: {error.strerror}") from error
        if not (text.strip().isdigit() and len(text) < 20):
            raise self._damaged(
                f"{self.format_file} holds no format version but {text[:40].decode(errors='replace')!r}"
            )
        return int(text)

    def _damaged(self, what: str) -> FailedPrecondition:
        return FailedPrecondition(
            "DATA_FOLDER_UNUSABLE",
            what,
            hint="restore the folder, or use another one with --data",
            metadata={"data": str(self.root)},
        )

    def _write_format(self, version: int) -> None:
        write_whole(self.format_file, f"{version}\n")


def write_whole(path: Path, text: str) -> None:
    """Replace a small file so that a reader sees the old text or the new one, and nothing between."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lock of a data folder: the supervisor's pid, and the address of its data port once that is known."""

    pid: int
    address: str


class FolderLock:
    """The lock of a data folder. The kernel holds it while this process lives: a `kill -9` leaves none behind."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: DataFolder, patience: float = LOCK_PATIENCE) -> "FolderLock":
        """Take the lock, or say who has it.

        Raises:
            FailedPrecondition: DATA_FOLDER_IN_USE naming the holder; DATA_FOLDER_UNUSABLE when it can't be written.
        """
        try:
            folder.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FailedPrecondition(
                "DATA_FOLDER_UNUSABLE",
                f"{folder.root} can't be used as a data folder: {error.strerror}",
                hint="choose a folder that you may write to with --data",
                metadata={"data": str(folder.root)},
            ) from error
        until = time.monotonic() + patience
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            holder = _read_holder(descriptor)
            if time.monotonic() > until:
                os.close(descriptor)
                raise _in_use(folder, holder or Holder(0, ""))
            time.sleep(0.02)
        lock = cls(descriptor)
        lock.describe("")
        return lock

    def describe(self, address: str) -> None:
        """Leave this process's pid and `address` for whoever finds the lock taken."""
        text = json.dumps({"pid": os.getpid(), "address": address}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)  # one write: a reader sees all of it, or nothing yet

    def release(self) -> None:
        """Give the folder up. The file stays: removing it would let two processes lock two files of one name."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def lock_holder(folder: DataFolder) -> Holder | None:
    """Who runs a mesh in `folder` right now; None when nobody does."""
    try:
        descriptor = os.open(folder.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    until = time.monotonic() + LOCK_PATIENCE
    try:
        while not _try_lock(descriptor, fcntl.LOCK_SH):
            holder = _read_holder(descriptor)
            if holder is not None:
                return holder
            if time.monotonic() > until:
                raise _in_use(folder, Holder(0, ""))
            time.sleep(0.01)
        return None
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(descriptor: int) -> Holder | None:
    """Who left its name in the lock's file; None for a holder that came or goes this very moment."""
    text = os.pread(descriptor, 4096, 0)
    if not text:
        return None
    found = json.loads(text)
    return Holder(int(found["pid"]), str(found["address"]))


def _in_use(folder: DataFolder, holder: Holder) -> FailedPrecondition:
    where = f", serving on {holder.address}" if holder.address else ""
    return FailedPrecondition(
        "DATA_FOLDER_IN_USE",
        f"a mesh already runs in {folder.root}: process {holder.pid}{where}",
        hint=f"stop it with `nnpm down --data {folder.root}`, or start this one with another --data and --port-base",
        metadata={"data": str(folder.root), "pid": str(holder.pid), "address": holder.address},
    )
