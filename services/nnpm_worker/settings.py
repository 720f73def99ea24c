"""The worker's settings: what every service has, and its own."""

import os
import socket
from pathlib import Path

from platformdirs import user_cache_path
from pydantic import Field, ValidationInfo, field_validator

from nnpm.errors import NnpmError
from nnpm.settings import ServiceSettings
from nnpm_worker.grants import Grants
from nnpm_worker.runtime import CodeLimits, RuntimeOptions


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
    worker_python_grants: str = Field(
        "",
        description="Whose Python classes may run here: packages (`acme/tiny`), namespaces with all that is in them "
        "(`acme/*`), single versions by digest (`sha256:...`), separated by commas; empty = nobody's.",
    )
    worker_python_memory_bytes: int = Field(
        4 * 1024**3, ge=256 * 1024**2, description="Address space that the process of one Python class may have, bytes."
    )
    worker_python_load_seconds: float = Field(
        60.0, gt=0, description="Time that a Python class may take to be imported and made, seconds."
    )
    worker_python_run_seconds: float = Field(
        30.0, gt=0, description="Time that one run of a Python class may take; then its process is ended; seconds."
    )

    @field_validator("worker_python_grants")
    @classmethod
    def _grants_read(cls, text: str) -> str:
        try:
            Grants.parse(text)
        except NnpmError as fault:
            raise ValueError(fault.message) from fault
        return text

    @field_validator("worker_python_run_seconds")
    @classmethod
    def _ends_before_the_worker_does(cls, seconds: float, info: ValidationInfo) -> float:
        # Where nothing is granted no class runs, and whoever sets the worker's limit need not know of this one.
        if info.data.get("worker_python_grants") and seconds >= info.data.get("worker_run_seconds", float("inf")):
            raise ValueError("must be less than NNPM_WORKER_RUN_SECONDS, after which the whole worker ends")
        return seconds

    @property
    def runtime_options(self) -> RuntimeOptions:
        """What they say to the runtimes."""
        return RuntimeOptions(
            threads=self.worker_threads,
            providers=self.worker_providers,
            code=CodeLimits(
                grants=Grants.parse(self.worker_python_grants),
                memory_bytes=self.worker_python_memory_bytes,
                load_seconds=self.worker_python_load_seconds,
                run_seconds=self.worker_python_run_seconds,
            ),
        )
