"""The artifact service as a process of its own."""

from collections.abc import Mapping
from pathlib import Path

from support.ports import free_port
from support.processes import Process, resident_bytes, wait_healthy

SERVICE = "nnpm.api.artifact.v1.ArtifactService"


class ArtifactProcess:
    """`python -m nnpm_artifact` over a folder; `settings` add to or replace NNPM_* of its own."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        environment = {
            "NNPM_ARTIFACT_LISTEN": self.address,
            "NNPM_ARTIFACT_DATABASE_URL": f"sqlite:///{folder / 'index.db'}",
            "NNPM_ARTIFACT_STORE": (folder / "packs").as_uri(),
            "NNPM_ARTIFACT_GARBAGE_INTERVAL_SECONDS": "0",
            "NNPM_LOG_FORMAT": "json",
            **settings,
        }
        self.process = Process.service("nnpm_artifact", folder / "artifact.log", environment)

    def start(self) -> "ArtifactProcess":
        """Returns once it is SERVING."""
        self.process.start()
        self.wait_serving()
        return self

    def wait_serving(self) -> None:
        wait_healthy(self.address, SERVICE, process=self.process)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self.process.stop()

    def end(self) -> None:
        """Whatever its state, it is gone afterwards."""
        self.process.__exit__(None, None, None)

    @property
    def resident_bytes(self) -> int:
        return resident_bytes(self.process.pid)
