"""Files from the artifact service."""

from collections.abc import AsyncIterator

import grpc.aio

from nnpm.api.artifact.v1.artifact_pb2 import ReadFileRequest
from nnpm.api.artifact.v1.artifact_pb2_grpc import ArtifactServiceStub


class Artifacts:
    """See `nnpm_worker.packages.Source`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._service = ArtifactServiceStub(channel)

    async def read(self, namespace: str, digest: str, offset: int) -> AsyncIterator[bytes]:
        """The bytes of a file from `offset` to its end, in blocks of at most 1 MiB."""
        request = ReadFileRequest(namespace=namespace, digest=digest, offset=offset)
        async for response in self._service.ReadFile(request):
            yield response.data
