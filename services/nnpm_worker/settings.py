"""The worker's settings: what every service has, and its own."""

import os
import socket
from pathlib import Path

from platformdirs import user_cache_path
from pydantic import Field

from nnpm.settings import ServiceSettings


def _default_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class WorkerSettings(ServiceSettings):
    """Settings of one inference worker."""

    worker_name: str = Field(
        default_factory=_default_name, description="Name for people, in lists and logs; default: host and process id."
    )
    worker_listen: str = Field(
        "", description="Where health is answered, `host:port` or `unix:/path`; empty = nowhere."
    )
    worker_cache_dir: Path = Field(
        default_factory=lambda: user_cache_path("nnpm") / "worker",
        description="Folder of model files, shared by a host's workers; default: `worker` in the user's cache folder.",
    )
    worker_cache_bytes: int = Field(
        50 * 1024**3, ge=1, description="Bytes that the cache may take on disk; what is in use is never evicted."
    )
    worker_memory_bytes: int = Field(
        0,
        ge=0,
        description="Bytes that loaded models may take together; 0 = 80 % of the machine's or container's memory.",
    )
    worker_threads: int = Field(
        0, ge=0, description="Threads that one run may use; 0 = the runtime's default, one a core."
    )
    worker_providers: str = Field(
        "auto",
        description="ONNX Runtime's execution providers, best first, separated by commas: `cuda`, `cpu` or full names; "
        "`auto` = CUDA where it works, else the CPU.",
    )
    worker_batch_rows: int = Field(
        64, ge=1, le=65_536, description="Rows joined at most where a deployment says nothing."
    )
    worker_probe_seconds: float = Field(
        15.0, ge=0, description="Time for finding out, at load, whether a model's requests may be joined, seconds."
    )
    worker_run_seconds: float = Field(
        300.0,
        gt=0,
        description="A run that takes longer has hung: the process ends, and others take its requests; seconds.",
    )
