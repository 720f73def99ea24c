"""What a scheduler process can be told. Shared settings stand in `nnpm.settings`."""

from pydantic import Field, field_validator

from nnpm.settings import ServiceSettings


class SchedulerSettings(ServiceSettings):
    """The scheduler's own fields."""

    scheduler_listen: str = Field(
        "127.0.0.1:8001", description="Where to serve the inference protocol: `host:port` or `unix:/path`."
    )
    control_listen: str = Field(
        "127.0.0.1:8103", description="Where to serve deployments: `host:port` or `unix:/path`."
    )
    mesh_listen: str = Field(
        "127.0.0.1:8104", description="Where to serve workers: `unix:/path` on one host, else `host:port`."
    )
    mesh_advertise: str = Field("", description="Where workers reach `mesh_listen`; empty = as it says.")
    scheduler_database_url: str = Field(
        "sqlite:///scheduler/scheduler.db",
        description="URL of the database of deployments: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.",
    )
    scheduler_timeout_seconds: float = Field(
        60.0, gt=0, le=86_400, description="Deadline of an inference call that comes without one, seconds."
    )
    scheduler_memory_bytes: int = Field(
        256 * 1024 * 1024, gt=0, description="Bodies of unanswered calls held in memory, bytes."
    )
    scheduler_connection_bytes: int = Field(
        128 * 1024 * 1024, gt=0, description="The same for the calls of one client connection, bytes."
    )
    scheduler_calls: int = Field(65_536, gt=0, description="Unanswered calls held.")
    scheduler_claim_bytes: int = Field(
        256 * 1024, ge=0, description="A body above this stays in the scheduler until its worker fetches it, bytes."
    )

    @field_validator("mesh_listen")
    @classmethod
    def _mesh_port_is_known(cls, value: str) -> str:
        """Workers are told the address before anybody listens on it."""
        if value.endswith(":0"):
            raise ValueError("the port cannot be 0")
        return value
