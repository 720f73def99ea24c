"""Files from the artifact service, or straight from its store."""

from collections.abc import AsyncIterator

import grpc.aio

from nnpm.api.artifact.v1.artifact_pb2_grpc import ArtifactServiceStub
from nnpm.artifacts.reader import FileReader
from nnpm.telemetry.logs import get_logger


class Artifacts:
    """See `nnpm_worker.packages.Source`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._reader = FileReader(ArtifactServiceStub(channel), on_fallback=_say)

    def read(self, namespace: str, digest: str, offset: int) -> AsyncIterator[bytes | memoryview]:
        """The bytes of a file from `offset` to its end, in blocks of some MiB at most."""
        return self._reader.read(namespace, digest, offset)


def _say(why: str) -> None:
    get_logger("artifacts").info("the store cannot be read from here, hence through the artifact service", why=why)
