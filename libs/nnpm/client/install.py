"""Installing: stream a version's files into part files, verified, and rename each into place.

An interrupted install goes on from the last verified chunk; a file that is there and right stays.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from nnpm.api.artifact.v1 import artifact_pb2
from nnpm.artifacts.reader import FileReader
from nnpm.client.connection import Connection
from nnpm.client.part_file import PartFile, disk_errors
from nnpm.client.patience import Patience, patiently
from nnpm.client.records import Installed, OnProgress, Progress, Version
from nnpm.errors import DataLoss, InvalidArgument, Unavailable
from nnpm.package.digest import digest_of, digest_of_file
from nnpm.package.manifest import FileEntry, Manifest

_PARTS = ".nnpm-parts"
_SLOWEST = 256 * 1024
_GRACE = 120.0

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


class Installer:
    """Installs versions over one connection; hashing and writing run in `executor`."""

    def __init__(self, connection: Connection, executor: Executor) -> None:
        self._artifact = connection.artifact
        self._executor = executor
        self._reader = FileReader(connection.artifact, executor)

    async def install(self, version: Version, folder: Path, on_progress: OnProgress) -> Installed:
        """Puts the version's files below `folder`.

        Raises:
            DataLoss: CONTENT_MISMATCH, what came is not what the digests say.
            ResourceExhausted: DISK_FULL; what came is kept for the next try.
            InvalidArgument: INVALID_PATH, a link below `folder` leads outside it, or a folder stands where a file goes.
            Unavailable: a service was away for longer than the client's patience.
        """
        manifest = _manifest(version)
        parts = _parts(folder)
        done = downloaded = 0
        for entry in manifest.files:
            target = _target(folder, entry.path)
            if not await self._in_executor(_is_there, target, entry):
                downloaded += await self._fetch(
                    manifest.package.namespace,
                    entry,
                    part=parts / entry.digest.removeprefix("sha256:"),
                    target=target,
                    on_bytes=_counter(on_progress, done, manifest.size),
                )
            done += entry.size
            on_progress(Progress("download", done, manifest.size))
        _remove_empty(parts)
        return Installed(
            package=version.package,
            version=version.version,
            digest=version.digest,
            folder=folder,
            files=tuple(folder / entry.path for entry in manifest.files),
            total_bytes=manifest.size,
            downloaded_bytes=downloaded,
            yanked=version.yanked,
        )

    async def _fetch(
        self, namespace: str, entry: FileEntry, *, part: Path, target: Path, on_bytes: Callable[[int], None]
    ) -> int:
        """Downloads one file; returns how many bytes travelled."""
        recipe = await patiently(lambda: self._recipe(namespace, entry.digest))
        patience = Patience()
        travelled = 0
        while True:
            file = await self._in_executor(PartFile, part, recipe)
            start = file.offset
            try:
                if start < entry.size:
                    timeout = _GRACE + (entry.size - start) / _SLOWEST
                    async for data in self._reader.read(namespace, entry.digest, start, timeout):
                        await self._in_executor(file.take, data)
                        travelled += len(data)
                        on_bytes(file.offset)
                await self._in_executor(file.finish, target, entry.digest)
            except Unavailable as fault:
                if file.offset > start:
                    patience.renew()
                await patience.wait(fault)
            else:
                return travelled
            finally:
                file.close()

    async def _recipe(self, namespace: str, digest: str) -> list[tuple[int, bytes]]:
        request = artifact_pb2.ReadRecipeRequest(namespace=namespace, digest=digest)
        found: list[tuple[int, bytes]] = []
        async for answer in self._artifact.ReadRecipe(request, timeout=_GRACE):
            found.extend((chunk.size, chunk.digest) for chunk in answer.chunks)
        return found

    async def _in_executor(self, work: Callable[[*Arguments], Answer], *arguments: *Arguments) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)


def _counter(on_progress: OnProgress, before: int, total: int) -> Callable[[int], None]:
    return lambda count: on_progress(Progress("download", before + count, total))


def _manifest(version: Version) -> Manifest:
    """The version's manifest, which must be just that version's."""
    name = f"{version.package}@{version.version}"
    if digest_of(version.manifest) != version.digest:
        raise DataLoss("CONTENT_MISMATCH", f"the manifest of {name} is not {version.digest}")
    manifest = Manifest.parse(version.manifest)
    if (manifest.name, manifest.version) != (version.package, version.version):
        raise DataLoss("CONTENT_MISMATCH", f"the manifest of {name} is that of {manifest.name}@{manifest.version}")
    return manifest


def _parts(folder: Path) -> Path:
    """The folder of part files below `folder`, made if missing."""
    parts = folder / _PARTS
    if parts.is_symlink():
        raise InvalidArgument("INVALID_PATH", f"{parts} is a link", hint="remove that link first")
    with disk_errors(folder):
        parts.mkdir(parents=True, exist_ok=True)
    return parts


def _target(folder: Path, path: str) -> Path:
    """Where a file of the package goes. Raises InvalidArgument INVALID_PATH where it cannot, or must not."""
    target = folder / path
    try:
        inside = target.parent.resolve().is_relative_to(folder.resolve())
    except RuntimeError as fault:
        raise InvalidArgument("INVALID_PATH", f"{target.parent} is a link to itself", hint="remove it first") from fault
    if not inside:
        raise InvalidArgument("INVALID_PATH", f"{target.parent} leads outside {folder}", hint="remove that link first")
    if target.is_dir() and not target.is_symlink():
        raise InvalidArgument("INVALID_PATH", f"{target} is a folder; a file of the package goes there")
    return target


def _is_there(target: Path, entry: FileEntry) -> bool:
    if target.is_symlink() or not target.is_file() or target.stat().st_size != entry.size:
        return False
    return digest_of_file(target) == entry.digest


def _remove_empty(folder: Path) -> None:
    """Part files of another version may lie there; they are for its next try."""
    if not any(folder.iterdir()):
        folder.rmdir()
