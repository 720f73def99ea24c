"""The artifact service, as the registry asks it: which files are there, hold them, let them go, read a piece."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

import grpc.aio

from nnpm.api.artifact.v1 import artifact_pb2, artifact_pb2_grpc
from nnpm.errors import DeadlineExceeded, NotFound, Unavailable

_TIMEOUT_S = 20
_PIECE_TIMEOUT_S = 60


class Artifacts:
    """A client of `nnpm.api.artifact.v1` over an open channel. Out of reach: Unavailable ARTIFACT_UNREACHABLE."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = artifact_pb2_grpc.ArtifactServiceStub(channel)

    async def size(self, namespace: str, digest: str) -> int | None:
        """A file's size in bytes; None when the namespace does not have it."""
        request = artifact_pb2.GetFileRequest(namespace=namespace, digest=digest)
        with _reachable():
            try:
                response = await self._stub.GetFile(request, timeout=_TIMEOUT_S)
            except NotFound:
                return None
        return int(response.file.size)

    async def hold(self, namespace: str, referrer: str, digests: Sequence[str]) -> bool:
        """Keeps files from being collected as garbage. False, and nothing held, when one is not there. Idempotent."""
        request = artifact_pb2.AddReferencesRequest(namespace=namespace, referrer=referrer, digests=digests)
        with _reachable():
            try:
                await self._stub.AddReferences(request, timeout=_TIMEOUT_S)
            except NotFound:
                return False
        return True

    async def release(self, namespace: str, referrer: str) -> None:
        """Lets go of what the referrer holds. Idempotent."""
        request = artifact_pb2.RemoveReferencesRequest(namespace=namespace, referrer=referrer)
        with _reachable():
            await self._stub.RemoveReferences(request, timeout=_TIMEOUT_S)

    async def read(self, namespace: str, digest: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """The bytes of a range of a file, in order, in pieces."""
        request = artifact_pb2.ReadFileRequest(namespace=namespace, digest=digest, offset=offset, length=length)
        with _reachable():
            async for response in self._stub.ReadFile(request, timeout=_PIECE_TIMEOUT_S):
                yield response.data


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (Unavailable, DeadlineExceeded) as error:
        raise Unavailable(
            "ARTIFACT_UNREACHABLE",
            f"the artifact service does not answer: {error.message}",
            hint="try again: a publication goes on where it was",
            retry_after=1,
        ) from error
