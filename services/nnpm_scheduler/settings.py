"""What a scheduler process can be told. Shared settings stand in `nnpm.settings`."""

import re
from typing import Literal

from pydantic import Field, field_validator

from nnpm.settings import ServiceSettings
from nnpm_scheduler.dispatch.quotas import read_quotas
from nnpm_scheduler.dispatch.sharing import read_weights

METADATA_KEY = re.compile(r"(?!grpc-|trace)[0-9a-z_.-]+(?<!-bin)")
"""Keys whose values are text that is a client's own, by gRPC's rules."""


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

    scheduler_priority_key: str = Field(
        "nnpm-priority",
        description="Metadata key of a call's class: `high`, `normal` (as without it) or `low`.",
    )
    scheduler_tenant_key: str = Field(
        "nnpm-tenant",
        description="Metadata key of the tenant that a call is for; calls without it share one.",
    )
    scheduler_tenant_weights: str = Field(
        "",
        description="Shares of tenants where calls wait, `NAME=WEIGHT,...`; whom it does not name weighs 1.",
    )
    scheduler_ageing_seconds: float = Field(
        1.0, gt=0, le=3_600, description="After so long a class that is passed over gets every tenth place, seconds."
    )

    scheduler_tenant_quotas: str = Field(
        "",
        description="What tenants may take, `NAME=RATE/IN_FLIGHT,...`: requests a second, and at a time; either may be "
        "missing, and `*` is each tenant that is not named.",
    )
    scheduler_quota_failure: Literal["open", "closed"] = Field(
        "open",
        description="Without Redis each scheduler counts for itself (`open`), or refuses who has a quota (`closed`).",
    )

    @field_validator("scheduler_tenant_quotas")
    @classmethod
    def _quotas_are_numbers(cls, value: str) -> str:
        read_quotas(value)
        return value

    @field_validator("scheduler_priority_key", "scheduler_tenant_key")
    @classmethod
    def _keys_are_keys(cls, value: str) -> str:
        if not METADATA_KEY.fullmatch(value):
            raise ValueError("a key is of a-z, 0-9, _, . and -, does not begin with grpc- and does not end in -bin")
        return value

    @field_validator("scheduler_tenant_weights")
    @classmethod
    def _weights_are_numbers(cls, value: str) -> str:
        read_weights(value)
        return value

    @field_validator("mesh_listen")
    @classmethod
    def _mesh_port_is_known(cls, value: str) -> str:
        """Workers are told the address before anybody listens on it."""
        if value.endswith(":0"):
            raise ValueError("the port cannot be 0")
        return value
