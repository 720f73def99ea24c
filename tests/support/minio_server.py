"""A real MinIO for a test."""

import urllib.request
from pathlib import Path

from support.ports import free_ports
from support.processes import Process
from support.s3_server import S3Server
from support.tools import tool


class MinioServer(S3Server):
    """A MinIO whose data lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_ports(2)
        super().__init__(f"127.0.0.1:{self._port}")

    def _process(self) -> Process:
        command = [
            *(tool("minio"), "server", "--quiet"),
            *("--address", self.endpoint),
            *("--console-address", f"127.0.0.1:{self._port + 1}"),
            self._folder / "data",
        ]
        environment = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        return Process(command, self._folder / "minio.log", environment)

    def _ready(self) -> bool:
        # "live" comes before the buckets can be used; "cluster" once they can
        with urllib.request.urlopen(f"http://{self.endpoint}/minio/health/cluster", timeout=2) as answer:
            return bool(answer.status == 200)
