"""A package's files on this host: fetched into the cache, verified, laid out by the manifest's paths."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from nnpm.errors import DataLoss, Unavailable
from nnpm.package.manifest import FileEntry, Manifest
from nnpm.telemetry.logs import get_logger
from nnpm.telemetry.metrics import Metrics
from nnpm_worker.cache import Cache, PackageUse, Partial, is_plain_file

_BLOCK = 1 << 20
_ATTEMPTS = 5
_RETRY_SECONDS = 0.3

_log = get_logger("packages")


class Source(Protocol):
    """Where files come from."""

    def read(self, namespace: str, digest: str, offset: int) -> AsyncIterator[bytes | memoryview]:
        """The bytes of a file from `offset` to its end, in blocks. Raises NnpmError."""


class Identity(NamedTuple):
    """What the system says of a file; another one, or a changed one, has another."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Package:
    """A package in use on this host: its files stay where they are until `close`."""

    def __init__(self, use: PackageUse, manifest: Manifest, verified: Mapping[str, Identity]) -> None:
        self._use = use
        self._manifest = manifest
        self._verified = verified

    @property
    def folder(self) -> Path:
        """Holds the manifest's paths, and nothing else."""
        return self._use.folder

    def check_unchanged(self) -> None:
        """Raise DataLoss CACHE_CORRUPT if a file is no longer the one that was verified.

        Called after a runtime has opened the files by path: between check and use nothing was swapped.
        """
        for entry in self._manifest.files:
            path = self._use.folder / entry.path
            if not os.path.lexists(path) or _identity(os.lstat(path)) != self._verified[entry.path]:
                # Another worker that lays out the same file changes its count of links, and so its change time.
                verify(path, entry)

    def close(self) -> None:
        """Its files may be evicted from now on."""
        self._use.close()


class Packages:
    """Makes packages available on this host.

    Args:
        cache: the shared cache.
        source: of what it lacks.
        metrics: where lookups and bytes are counted.
    """

    def __init__(self, cache: Cache, source: Source, metrics: Metrics) -> None:
        self._cache = cache
        self._source = source
        self._metrics = metrics

    async def open(self, namespace: str, manifest: Manifest) -> Package:
        """The package with all its files, each verified now.

        Raises:
            ResourceExhausted: CACHE_FULL, DISK_FULL.
            DataLoss: CONTENT_MISMATCH when the source gives other bytes than the digest names.
            NnpmError: what the source raises.
        """
        use = await asyncio.to_thread(self._cache.use, manifest.digest())
        try:
            verified = {entry.path: await self._provide(namespace, entry, use) for entry in manifest.files}
        except BaseException:
            use.close()
            raise
        return Package(use, manifest, verified)

    async def _provide(self, namespace: str, entry: FileEntry, use: PackageUse) -> Identity:
        path = use.folder / entry.path
        if await asyncio.to_thread(self._cache.link, entry.digest, use, entry.path):
            try:
                identity = await asyncio.to_thread(verify, path, entry)
            except DataLoss as error:
                _log.warning("a cached file is damaged and is fetched again", file=entry.path, why=error.message)
                await asyncio.to_thread(self._cache.discard, entry.digest)
            else:
                self._metrics.cache.labels("hit").inc()
                return identity
        self._metrics.cache.labels("miss").inc()
        await self._fetch(namespace, entry, use)
        return await asyncio.to_thread(lambda: _identity(os.lstat(path)))

    async def _fetch(self, namespace: str, entry: FileEntry, use: PackageUse) -> None:
        partial = await asyncio.to_thread(self._cache.reserve, entry.digest, entry.size)
        try:
            await self._receive(namespace, entry, partial)
            await asyncio.to_thread(self._cache.keep, partial, entry.digest, use, entry.path)
        finally:
            partial.abandon()

    async def _receive(self, namespace: str, entry: FileEntry, partial: Partial) -> None:
        """The whole file, hashed as it comes; a broken stream goes on where it broke."""
        whole = hashlib.sha256()

        def take(block: bytes | memoryview) -> None:
            whole.update(block)
            partial.write(block)

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if partial.written < entry.size:
                    async for block in self._source.read(namespace, entry.digest, partial.written):
                        await asyncio.to_thread(take, block)
                        self._metrics.bytes.labels("fetched").inc(len(block))
                        if partial.written > entry.size:
                            break
                break
            except Unavailable:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(_RETRY_SECONDS * attempt)
        found = f"sha256:{whole.hexdigest()}"
        if (partial.written, found) != (entry.size, entry.digest):
            raise DataLoss(
                "CONTENT_MISMATCH",
                f"{entry.path} came with {partial.written} bytes and digest {found}; "
                f"the manifest says {entry.size} and {entry.digest}",
            )


def verify(path: Path, entry: FileEntry) -> Identity:
    """Read a file from one open descriptor and compare; its identity, if it is what the manifest says and held still.

    Raises:
        DataLoss: CACHE_CORRUPT.
    """
    whole = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            while block := file.read(_BLOCK):
                whole.update(block)
            after = os.fstat(descriptor)
    except OSError as error:
        raise DataLoss("CACHE_CORRUPT", f"{entry.path} cannot be read from the cache: {error.strerror}") from error
    if not is_plain_file(before) or f"sha256:{whole.hexdigest()}" != entry.digest:
        raise DataLoss("CACHE_CORRUPT", f"{entry.path} in the cache is not what its digest says")
    if _identity(before)[:4] != _identity(after)[:4]:
        raise DataLoss("CACHE_CORRUPT", f"{entry.path} changed while it was verified")
    return _identity(after)


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
