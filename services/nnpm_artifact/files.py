"""What is committed: stat, recipe, and any range of the content."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from nnpm.errors import InvalidArgument, NotFound, OutOfRange
from nnpm.package.digest import format_digest
from nnpm.package.names import check_namespace
from nnpm.sql.database import Database
from nnpm_artifact.reading import ChunkReader
from nnpm_artifact.recipes import Chunk, length_of
from nnpm_artifact.store import chunk_rows, file_rows
from nnpm_artifact.store.chunk_rows import Location
from nnpm_artifact.store.file_rows import FileRow, RecipePart


class Files:
    """Reads committed files."""

    def __init__(self, database: Database, reader: ChunkReader) -> None:
        self._database = database
        self._reader = reader

    async def get(self, namespace: str, digest: bytes) -> FileRow:
        """Raises NotFound FILE_NOT_FOUND."""
        check_namespace(namespace)
        file = await self._database.read(file_rows.find, namespace, digest)
        if file is None:
            raise _not_found(namespace, digest)
        return file

    async def recipe(self, namespace: str, digest: bytes) -> AsyncGenerator[list[Chunk], None]:
        """The file's chunks in order, in parts. An empty file has none. Raises FILE_NOT_FOUND."""
        file = await self.get(namespace, digest)
        async with aclosing(self._parts(file, 0)) as parts:
            async for part in parts:
                yield part.chunks

    async def read(self, namespace: str, digest: bytes, offset: int, length: int) -> AsyncGenerator[memoryview, None]:
        """Bytes from `offset`; `length` 0 = up to the end, and a range past the end is cut there.

        Every chunk is verified as a whole before a byte of it is given out. Raises FILE_NOT_FOUND, INVALID_FILE_RANGE,
        OFFSET_PAST_END, CHUNK_CORRUPT.
        """
        file = await self._at(namespace, digest, offset, length)
        end = min(file.size, offset + length) if length else file.size
        if offset == end:
            return
        async with aclosing(self._parts(file, offset)) as parts:
            async for part in parts:
                async with aclosing(self._content(file, part, offset, end)) as pieces:
                    async for piece in pieces:
                        yield piece
                if part.first_byte + length_of(part.chunks) >= end:
                    return

    async def pieces(
        self, namespace: str, digest: bytes, offset: int
    ) -> AsyncGenerator[tuple[int, int, list[Chunk]], None]:
        """The chunks from the one in which `offset` lies, in parts: namespace's id, place of the first byte, chunks.

        Raises FILE_NOT_FOUND, INVALID_FILE_RANGE, OFFSET_PAST_END.
        """
        file = await self._at(namespace, digest, offset, 0)
        if offset == file.size:
            return
        async with aclosing(self._parts(file, offset)) as parts:
            async for part in parts:
                yield file.namespace_id, *_overlap(part, offset, file.size)

    async def _at(self, namespace: str, digest: bytes, offset: int, length: int) -> FileRow:
        if offset < 0 or length < 0:
            raise InvalidArgument("INVALID_FILE_RANGE", f"offset {offset} and length {length} must be 0 or more")
        file = await self.get(namespace, digest)
        if offset > file.size:
            raise OutOfRange(
                "OFFSET_PAST_END", f"offset {offset} is past the end of {format_digest(digest)}, at {file.size}"
            )
        return file

    async def _parts(self, file: FileRow, offset: int) -> AsyncGenerator[RecipePart, None]:
        """The parts of the recipe from the one in which `offset` lies."""
        part = await self._database.read(file_rows.part_at, file.id, offset)
        at = 0
        while part is not None:
            yield part
            at = part.first_byte + length_of(part.chunks)
            part = await self._database.read(file_rows.part_after, file.id, part.first_byte)
        if at < file.size:  # collected while it was read
            raise _not_found(file.namespace, file.digest)

    async def _content(
        self, file: FileRow, part: RecipePart, offset: int, end: int
    ) -> AsyncGenerator[memoryview, None]:
        """Those bytes of a part that lie between `offset` and `end` of the file."""
        first, wanted = _overlap(part, offset, end)

        async def locate(digests: Sequence[bytes]) -> Mapping[bytes, Location]:
            return await self._database.read(chunk_rows.locate, file.namespace_id, digests)

        at = first
        async with aclosing(self._reader.read(file.namespace_id, wanted, locate)) as runs:
            async for content in runs:
                yield content[max(0, offset - at) : end - at]
                at += len(content)


def _overlap(part: RecipePart, offset: int, end: int) -> tuple[int, list[Chunk]]:
    """The chunks of a part that have bytes between `offset` and `end`, and where the first of them begins."""
    at, first = part.first_byte, part.first_byte
    wanted: list[Chunk] = []
    for chunk in part.chunks:
        if at < end and at + chunk.size > offset:
            first = first if wanted else at
            wanted.append(chunk)
        at += chunk.size
    return first, wanted


def _not_found(namespace: str, digest: bytes) -> NotFound:
    return NotFound(
        "FILE_NOT_FOUND",
        f"namespace {namespace} has no file {format_digest(digest)}",
        metadata={"namespace": namespace, "digest": format_digest(digest)},
    )
