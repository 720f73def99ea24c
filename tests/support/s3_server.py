"""What the tests ask of a real S3 server, whoever made it: loopback, a folder of its own, gone at the end."""

import secrets
from abc import ABC, abstractmethod
from typing import Self

from minio import Minio

from support.processes import Process
from support.waiting import wait_until


class S3Server(ABC):
    """A server of plain HTTP. `endpoint` is host:port, without a scheme."""

    access_key = "nnpm-test"

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.secret_key = secrets.token_hex(16)
        self.process = self._process()

    @abstractmethod
    def _process(self) -> Process:
        """The server's process, not started."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether buckets can be used; raises while nothing listens."""

    def start(self) -> Self:
        self.process.start()
        wait_until(self._ready, 30, what=f"{type(self).__name__} is ready")
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` brings it back with its data."""
        self.process.kill()

    def stop(self) -> None:
        self.process.kill_group()

    def client(self) -> Minio:
        return Minio(self.endpoint, access_key=self.access_key, secret_key=self.secret_key, secure=False)

    def make_bucket(self) -> str:
        """A new, empty bucket's name."""
        bucket = f"test-{secrets.token_hex(8)}"
        self.client().make_bucket(bucket_name=bucket)
        return bucket

    def store_url(self, bucket: str) -> str:
        """NNPM_ARTIFACT_STORE for a bucket of this server."""
        return f"s3://{bucket}?endpoint=http://{self.endpoint}"

    def settings(self, bucket: str) -> dict[str, str]:
        """NNPM_* of an artifact service over a bucket of this server."""
        return {
            "NNPM_ARTIFACT_STORE": self.store_url(bucket),
            "NNPM_ARTIFACT_S3_ACCESS_KEY": self.access_key,
            "NNPM_ARTIFACT_S3_SECRET_KEY": self.secret_key,
        }
