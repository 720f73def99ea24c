"""A real Versity S3 Gateway over a folder, for a test: an S3 server that shares no code with MinIO."""

import urllib.request
from pathlib import Path

from support.ports import free_port
from support.processes import Process
from support.s3_server import S3Server
from support.tools import tool

_HEALTH = "/health"


class VersityServer(S3Server):
    """A gateway whose objects are files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__(f"127.0.0.1:{free_port()}")

    def _process(self) -> Process:
        data, facts = self._folder / "objects", self._folder / "facts"
        data.mkdir(parents=True, exist_ok=True)
        facts.mkdir(exist_ok=True)
        command = [
            *(tool("versitygw"), "--port", self.endpoint, "--health", _HEALTH, "--quiet", "--keep-alive"),
            # not every file system that a test runs on has extended attributes: what it knows of objects lies beside
            *("posix", "--sidecar", facts, data),
        ]
        environment = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        return Process(command, self._folder / "versitygw.log", environment)

    def _ready(self) -> bool:
        with urllib.request.urlopen(f"http://{self.endpoint}{_HEALTH}", timeout=2) as answer:
            return bool(answer.status == 200)
