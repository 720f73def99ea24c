"""The registry's settings."""

from pydantic import Field

from nnpm.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    """What `python -m nnpm_registry` can be told, besides what all services can."""

    registry_listen: str = Field("127.0.0.1:8101", description="Where to serve gRPC: `host:port` or `unix:/path`.")
    registry_database_url: str = Field(
        "sqlite:///registry/registry.db",
        description="URL of the database of packages: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.",
    )
    registry_draft_seconds: int = Field(
        24 * 3600, ge=1, description="How long a draft, or a refused version, is kept, seconds."
    )
    registry_inspection_memory_bytes: int = Field(
        2 << 30, ge=256 << 20, description="Memory (address space) that the inspection of a graph may take, bytes."
    )
    registry_inspection_seconds: float = Field(
        120, ge=1, description="Time, and processor time, that the inspection of a graph may take, seconds."
    )
    registry_inspections: int = Field(2, ge=1, le=64, description="Inspections that run side by side.")
