"""The artifact service's settings."""

from pathlib import Path

from pydantic import Field, SecretStr

from nnpm.settings import ServiceSettings


class ArtifactSettings(ServiceSettings):
    """What `python -m nnpm_artifact` can be told, besides what all services can."""

    artifact_listen: str = Field("127.0.0.1:8102", description="Where to serve gRPC: `host:port` or `unix:/path`.")
    artifact_database_url: str = Field(
        "sqlite:///artifact/artifact.db",
        description="URL of the index of chunks: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.",
    )
    artifact_store: str = Field(
        "file:artifact/packs",
        description="Where packs lie: `file:///path`, or `s3://bucket/prefix?endpoint=http://host:9000&region=us-east-1`.",
    )
    artifact_s3_access_key: str = Field("", description="Access key of an s3 store.")
    artifact_s3_secret_key: SecretStr = Field(SecretStr(""), description="Secret key of an s3 store.")
    artifact_staging_dir: Path | None = Field(
        None, description="Local folder where packs for an s3 store are written first; absent = a temporary folder."
    )
    artifact_direct_endpoint: str = Field(
        "auto",
        description="Where clients and workers reach an s3 store themselves, `http://host:9000`; `auto` = where this "
        "service does (but not in the clear where this service speaks TLS); `off` = they read through this service.",
    )
    artifact_direct_seconds: int = Field(
        300, ge=10, le=24 * 3600, description="How long a URL of a range of the store is good for, seconds."
    )
    artifact_lease_seconds: int = Field(
        24 * 3600, ge=1, le=30 * 24 * 3600, description="How long an upload lives after its last call, seconds."
    )
    artifact_garbage_grace_seconds: int = Field(
        600, ge=0, description="How long a thing must be held by nothing before garbage collection takes it, seconds."
    )
    artifact_garbage_interval_seconds: int = Field(
        3600, ge=0, description="Time between collections of garbage by the service itself, seconds; 0 = never."
    )
