"""The gRPC servicer: translates, delegates, translates back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from nnpm.api.artifact.v1 import artifact_pb2 as pb
from nnpm.api.artifact.v1 import artifact_pb2_grpc
from nnpm.errors import InvalidArgument, NnpmError
from nnpm.package.digest import format_digest, parse_digest
from nnpm.telemetry.metrics import Metrics
from nnpm_artifact.arrivals import Place
from nnpm_artifact.collection import Collection
from nnpm_artifact.commits import Claim, Commits
from nnpm_artifact.direct import DirectReads, SharedRange
from nnpm_artifact.files import Files
from nnpm_artifact.intake import Brought, Intake, Intakes
from nnpm_artifact.recipes import Chunk
from nnpm_artifact.references import Reference, References
from nnpm_artifact.store.file_rows import FileRow
from nnpm_artifact.uploads import Uploads

SERVICE = pb.DESCRIPTOR.services_by_name["ArtifactService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]

_ANSWER_BYTES = 1 << 20
_HEAR_OUT_S = 10.0


class ArtifactService(artifact_pb2_grpc.ArtifactServiceServicer):
    """nnpm.api.artifact.v1.ArtifactService."""

    def __init__(
        self,
        *,
        uploads: Uploads,
        intakes: Intakes,
        commits: Commits,
        files: Files,
        direct: DirectReads,
        references: References,
        collection: Collection,
        metrics: Metrics,
    ) -> None:
        self._uploads = uploads
        self._intakes = intakes
        self._commits = commits
        self._files = files
        self._direct = direct
        self._references = references
        self._collection = collection
        self._received = metrics.bytes.labels("received")
        self._sent = metrics.bytes.labels("sent")

    async def CreateUpload(self, request: pb.CreateUploadRequest, context: Context) -> pb.CreateUploadResponse:
        lease = await self._uploads.create(request.namespace, request.request_id)
        return pb.CreateUploadResponse(upload_id=lease.upload_id, expire_time=_timestamp(lease.expires))

    async def FindMissingChunks(
        self, request: pb.FindMissingChunksRequest, context: Context
    ) -> pb.FindMissingChunksResponse:
        missing = await self._uploads.find_missing(request.upload_id, _chunks(request.chunks))
        return pb.FindMissingChunksResponse(missing=missing)

    async def UploadChunks(
        self, request_iterator: AsyncIterator[pb.UploadChunksRequest], context: Context
    ) -> pb.UploadChunksResponse:
        async with _heard_out(request_iterator):
            first = await anext(request_iterator, pb.UploadChunksRequest())
            intake = self._intakes.open(await self._uploads.renew(first.upload_id))
            try:
                await self._take(intake, first)
                async for request in request_iterator:
                    _check_same(first.upload_id, request.upload_id)
                    await self._take(intake, request)
                stored = await intake.finish()
            except BaseException:  # a broken stream ends in CancelledError
                await intake.abandon()
                raise
        return pb.UploadChunksResponse(stored_chunks=stored.chunks, stored_bytes=stored.bytes)

    async def _take(self, intake: Intake, request: pb.UploadChunksRequest) -> None:
        brought = [_brought(chunk) for chunk in request.chunks]
        await intake.take(brought)
        self._received.inc(sum(len(one.data) for one in brought))

    async def CommitFile(
        self, request_iterator: AsyncIterator[pb.CommitFileRequest], context: Context
    ) -> pb.CommitFileResponse:
        async with _heard_out(request_iterator):
            first = await anext(request_iterator, pb.CommitFileRequest())
            claim = Claim(parse_digest(first.digest), first.size)
            file = await self._commits.commit(first.upload_id, claim, _recipe(first, request_iterator))
        return pb.CommitFileResponse(file=_file(file))

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, context: Context) -> pb.DeleteUploadResponse:
        await self._uploads.delete(request.upload_id)
        return pb.DeleteUploadResponse()

    async def GetFile(self, request: pb.GetFileRequest, context: Context) -> pb.GetFileResponse:
        file = await self._files.get(request.namespace, parse_digest(request.digest))
        return pb.GetFileResponse(file=_file(file))

    async def ReadRecipe(
        self, request: pb.ReadRecipeRequest, context: Context
    ) -> AsyncGenerator[pb.ReadRecipeResponse, None]:
        async with aclosing(self._files.recipe(request.namespace, parse_digest(request.digest))) as parts:
            async for chunks in parts:
                yield pb.ReadRecipeResponse(chunks=[pb.Chunk(digest=chunk.digest, size=chunk.size) for chunk in chunks])

    async def ReadFile(
        self, request: pb.ReadFileRequest, context: Context
    ) -> AsyncGenerator[pb.ReadFileResponse, None]:
        digest = parse_digest(request.digest)
        async with aclosing(self._files.read(request.namespace, digest, request.offset, request.length)) as contents:
            async for content in contents:
                for start in range(0, len(content), _ANSWER_BYTES):
                    data = bytes(content[start : start + _ANSWER_BYTES])
                    yield pb.ReadFileResponse(data=data)
                    self._sent.inc(len(data))

    async def LocateFile(
        self, request: pb.LocateFileRequest, context: Context
    ) -> AsyncGenerator[pb.LocateFileResponse, None]:
        digest = parse_digest(request.digest)
        async with aclosing(self._direct.locate(request.namespace, digest, request.offset)) as parts:
            async for ranges in parts:
                yield pb.LocateFileResponse(ranges=[_range(one) for one in ranges])

    async def AddReferences(self, request: pb.AddReferencesRequest, context: Context) -> pb.AddReferencesResponse:
        digests = tuple(parse_digest(digest) for digest in request.digests)
        await self._references.add(request.namespace, Reference(request.referrer, digests))
        return pb.AddReferencesResponse()

    async def RemoveReferences(
        self, request: pb.RemoveReferencesRequest, context: Context
    ) -> pb.RemoveReferencesResponse:
        await self._references.remove(request.namespace, request.referrer)
        return pb.RemoveReferencesResponse()

    async def CollectGarbage(self, request: pb.CollectGarbageRequest, context: Context) -> pb.CollectGarbageResponse:
        grace_ms = None
        if request.HasField("grace"):
            grace_ms = request.grace.ToMilliseconds()
            if grace_ms < 0:
                raise InvalidArgument("INVALID_GRACE", f"a grace period is 0 or more, not {grace_ms} ms")
        collected = await self._collection.collect(dry_run=request.dry_run, grace_ms=grace_ms)
        return pb.CollectGarbageResponse(
            deleted_files=collected.files,
            deleted_chunks=collected.chunks,
            deleted_packs=collected.packs,
            freed_bytes=collected.bytes,
            waiting_files=collected.waiting_files,
        )


@asynccontextmanager
async def _heard_out(requests: AsyncIterator[object]) -> AsyncIterator[None]:
    """Lets a caller finish before it is told of an error.

    grpc.aio reports a write that fails because the call has ended as INTERNAL "Internal error from Core" and drops the
    status that it ended with (1 of 3 times, measured with messages of 2 MiB). Hence what still comes is thrown away.
    """
    try:
        yield
    except NnpmError:
        with suppress(TimeoutError):
            async with asyncio.timeout(_HEAR_OUT_S):
                async for _ in requests:
                    pass
        raise


async def _recipe(
    first: pb.CommitFileRequest, rest: AsyncIterator[pb.CommitFileRequest]
) -> AsyncGenerator[Sequence[Chunk], None]:
    yield _chunks(first.chunks)
    async for request in rest:
        _check_same(first.upload_id, request.upload_id)
        yield _chunks(request.chunks)


def _check_same(upload_id: str, later: str) -> None:
    if later and later != upload_id:
        raise InvalidArgument("UPLOAD_CHANGED", "one stream belongs to one upload; a later message names another")


def _chunks(chunks: Iterable[pb.Chunk]) -> list[Chunk]:
    return [Chunk(chunk.digest, chunk.size) for chunk in chunks]


def _brought(chunk: pb.ChunkData) -> Brought:
    place = Place(chunk.place.file, chunk.place.offset) if chunk.HasField("place") else None
    return Brought(chunk.digest, chunk.data, place)


def _range(shared: SharedRange) -> pb.StoreRange:
    return pb.StoreRange(
        url=shared.url,
        first_byte=shared.first_byte,
        file_offset=shared.file_offset,
        chunks=[pb.Chunk(digest=chunk.digest, size=chunk.size) for chunk in shared.chunks],
    )


def _file(file: FileRow) -> pb.File:
    return pb.File(
        namespace=file.namespace,
        digest=format_digest(file.digest),
        size=file.size,
        chunk_count=file.chunk_count,
        create_time=_timestamp(file.created),
    )


def _timestamp(milliseconds: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(milliseconds)
    return stamp
