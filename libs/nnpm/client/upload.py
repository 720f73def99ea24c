"""Uploading files under a lease: ask which chunks are missing, stream those alone, commit the recipes.

All chunks of all files are one sequence, so that many small files share packs. The sequence goes window by window; a
window that breaks off is asked about again, and only what did not arrive is sent again. While one call waits until
all that it sent is durable, the next one sends. Memory: a few messages (2 MiB each) and the lists of chunks (about 200
bytes each).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nnpm.api.artifact.v1 import artifact_pb2
from nnpm.client.patience import Patience, patiently
from nnpm.client.records import OnProgress, Progress
from nnpm.errors import FailedPrecondition, InvalidArgument, NnpmError, Unavailable
from nnpm.package.chunking import Chunk, ChunkedFile
from nnpm.package.digest import format_digest, parse_digest

if TYPE_CHECKING:
    from nnpm.api.artifact.v1.artifact_pb2_grpc import ArtifactServiceAsyncStub

WINDOW = 32_768
"""Chunks that are asked about, then sent: two GiB or so. Between windows nothing travels for a moment."""
_ASKED = 8192
"""Chunks that one question may name."""
_MESSAGE_BYTES = 2 << 20
_STREAM_BYTES = 256 << 20
"""What one call sends: a refusal (a full disk) is heard at its end, and what it stored is durable then."""
_RECIPE_PART = 8192
_SLOWEST = 256 * 1024
"""Bytes a second that a transfer makes at least; its deadline follows from it."""
_GRACE = 120.0


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to upload, as it was when it was cut."""

    path: Path
    cut: ChunkedFile


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk to upload, and where it stands."""

    path: Path
    file: bytes
    chunk: Chunk


class _Source:
    """Reads chunks back from the files, the last one kept open. What is read is verified on arrival, not here."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._handle = -1

    def read(self, piece: _Piece) -> bytes:
        """What stands now where the chunk was cut. Raises FailedPrecondition UPLOAD_CHANGED when that is too short."""
        path, chunk = piece.path, piece.chunk
        if path != self._path:
            self.close()
            # Not blocking: where a named pipe stands by now, nobody may write to it.
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            self._path = path
        content = os.pread(self._handle, chunk.length, chunk.offset)
        if len(content) < chunk.length:
            raise _changed(path)
        return content

    def close(self) -> None:
        """Closes the open file."""
        if self._path is not None:
            os.close(self._handle)
            self._path = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class Upload:
    """One upload under way. `sent_bytes` counts what really travelled."""

    def __init__(
        self, stub: "ArtifactServiceAsyncStub", upload_id: str, executor: Executor, on_progress: OnProgress
    ) -> None:
        self._stub = stub
        self._id = upload_id
        self._executor = executor
        self._on_progress = on_progress
        self._done = 0
        self._total = 0
        self.sent_bytes = 0

    async def store(self, files: Sequence[LocalFile]) -> None:
        """Stores and commits the files; what the namespace has is not sent."""
        different = list({file.cut.digest: file for file in files}.values())
        self._done, self._total = 0, sum(file.cut.size for file in different)
        sequence = [
            _Piece(file.path, digest, chunk)
            for file in different
            for digest in [parse_digest(file.cut.digest)]
            for chunk in file.cut.chunks
        ]
        for start in range(0, len(sequence), WINDOW):
            await self._store_window(sequence[start : start + WINDOW])
        self._on_progress(Progress("upload", self._total, self._total))
        for file in different:
            await patiently(partial(self._commit, file.cut))

    async def _store_window(self, window: Sequence[_Piece]) -> None:
        patience = Patience()
        before = self._done
        size = _length(window)
        unsent = size + 1
        missing = _different(window)
        while True:
            try:
                missing = await self._missing(missing)
                unsent, last = _length(missing), unsent
                self._advance(before + size - unsent)
                if unsent < last:
                    patience.renew()
                await self._send_all(_groups(missing, _STREAM_BYTES))
            except Unavailable as fault:
                await patience.wait(fault)
            else:
                self._advance(before + size)
                return

    async def _missing(self, pieces: Sequence[_Piece]) -> list[_Piece]:
        missing: list[_Piece] = []
        for start in range(0, len(pieces), _ASKED):
            asked = pieces[start : start + _ASKED]
            chunks = [artifact_pb2.Chunk(digest=piece.chunk.digest, size=piece.chunk.length) for piece in asked]
            request = artifact_pb2.FindMissingChunksRequest(upload_id=self._id, chunks=chunks)
            answer = await self._stub.FindMissingChunks(request)
            missing += [piece for index, piece in enumerate(asked) if answer.missing[index >> 3] >> (index & 7) & 1]
        return missing

    async def _send_all(self, parts: Iterator[list[_Piece]]) -> None:
        """Sends the parts in calls of their own, two at a time: one that sends and one that is being made durable."""
        before: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as calls:
                for part in parts:
                    sent = asyncio.Event()
                    call = calls.create_task(self._send(part, sent))
                    await sent.wait()
                    if before is not None:
                        await before
                    before = call
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from None

    async def _send(self, pieces: Sequence[_Piece], sent: asyncio.Event) -> None:
        """Sends chunks and returns when they are durable; `sent` is set as soon as nothing more is to be sent."""
        size = _length(pieces)
        faults: list[Exception] = []
        with _Source() as source:
            try:
                await self._stub.UploadChunks(
                    self._messages(pieces, source, faults, sent), timeout=_GRACE + size / _SLOWEST
                )
            except asyncio.CancelledError:
                # grpc.aio cancels a call whose messages fail, and keeps the reason to itself.
                if faults:
                    raise faults[0] from None
                raise
            except InvalidArgument as fault:
                if fault.reason != "CHUNK_DIGEST_MISMATCH":
                    raise
                raise _changed(_path_of(pieces, fault.metadata.get("digest", ""))) from fault
            finally:
                sent.set()

    async def _messages(
        self, pieces: Sequence[_Piece], source: _Source, faults: list[Exception], sent: asyncio.Event
    ) -> AsyncIterator[artifact_pb2.UploadChunksRequest]:
        loop = asyncio.get_running_loop()
        yield artifact_pb2.UploadChunksRequest(upload_id=self._id)
        try:
            for group in _groups(pieces, _MESSAGE_BYTES):
                message, length = await loop.run_in_executor(self._executor, _message, group, source)
                yield message
                self.sent_bytes += length
                self._advance(self._done + length)
            sent.set()
        except (NnpmError, OSError) as fault:
            faults.append(fault)
            raise

    async def _commit(self, file: ChunkedFile) -> None:
        async def parts() -> AsyncIterator[artifact_pb2.CommitFileRequest]:
            yield artifact_pb2.CommitFileRequest(upload_id=self._id, digest=file.digest, size=file.size)
            for start in range(0, len(file.chunks), _RECIPE_PART):
                part = file.chunks[start : start + _RECIPE_PART]
                yield artifact_pb2.CommitFileRequest(
                    chunks=[artifact_pb2.Chunk(digest=chunk.digest, size=chunk.length) for chunk in part]
                )

        await self._stub.CommitFile(parts(), timeout=_GRACE + file.size / _SLOWEST)

    def _advance(self, done: int) -> None:
        self._done = done
        self._on_progress(Progress("upload", min(done, self._total), self._total))


def _different(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Of those that are alike, the first."""
    found: dict[bytes, _Piece] = {}
    for piece in pieces:
        found.setdefault(piece.chunk.digest, piece)
    return list(found.values())


def _length(pieces: Sequence[_Piece]) -> int:
    return sum(piece.chunk.length for piece in pieces)


def _path_of(pieces: Sequence[_Piece], digest: str) -> Path:
    """The file that the chunk of that digest was cut from."""
    return next((piece.path for piece in pieces if format_digest(piece.chunk.digest) == digest), pieces[0].path)


def _changed(path: Path) -> FailedPrecondition:
    return FailedPrecondition(
        "UPLOAD_CHANGED",
        f"{path} changed while it was uploaded",
        hint="publish again when nothing writes to it any more",
        metadata={"path": str(path)},
    )


def _groups(pieces: Sequence[_Piece], limit: int) -> Iterator[list[_Piece]]:
    """Runs of chunks of `limit` bytes at most."""
    group: list[_Piece] = []
    size = 0
    for piece in pieces:
        length = piece.chunk.length
        if group and size + length > limit:
            yield group
            group, size = [], 0
        group.append(piece)
        size += length
    if group:
        yield group


def _message(group: Sequence[_Piece], source: _Source) -> tuple[artifact_pb2.UploadChunksRequest, int]:
    chunks = [
        artifact_pb2.ChunkData(
            digest=piece.chunk.digest,
            data=source.read(piece),
            place=artifact_pb2.FilePlace(file=piece.file, offset=piece.chunk.offset),
        )
        for piece in group
    ]
    return artifact_pb2.UploadChunksRequest(chunks=chunks), _length(group)
