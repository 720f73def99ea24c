"""A real MinIO for a test: loopback, a folder of its own, gone at the end."""

import secrets
import urllib.request
from pathlib import Path

from minio import Minio

from support.ports import free_ports
from support.processes import Process
from support.tools import tool
from support.waiting import wait_until


class MinioServer:
    """A server whose data lies in `folder`. `endpoint` is host:port, without a scheme; it speaks plain HTTP."""

    access_key = "nnpm-test"

    def __init__(self, folder: Path) -> None:
        self.secret_key = secrets.token_hex(16)
        port = free_ports(2)
        self.endpoint = f"127.0.0.1:{port}"
        command = [
            *(tool("minio"), "server", "--quiet"),
            *("--address", self.endpoint),
            *("--console-address", f"127.0.0.1:{port + 1}"),
            folder / "data",
        ]
        environment = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        self.process = Process(command, folder / "minio.log", environment)

    def start(self) -> "MinioServer":
        self.process.start()
        # "live" comes before the buckets can be used; "cluster" once they can
        wait_until(self._ready, 30, what="MinIO is ready")
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

    def _ready(self) -> bool:
        with urllib.request.urlopen(f"http://{self.endpoint}/minio/health/cluster", timeout=2) as answer:
            return bool(answer.status == 200)
