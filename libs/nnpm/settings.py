"""Settings that every service process shares: flags, then the environment, then the defaults written here.

The environment has a setting's value in `NNPM_X`, or in a file that `NNPM_X_FILE` names: so that keys, and URLs with
passwords in them, are neither on a command line nor in an environment.

A service adds its own fields in its `settings.py`. Names, units and defaults stand in the fields' descriptions, which
`--help` prints and from which the README's table is made.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from nnpm.errors import FieldViolation, InvalidArgument
from nnpm.rpc.tls import Tls

LONGEST_FILE = 64 * 1024
"""Bytes; what is longer than that is no setting."""


class FilesSource(PydanticBaseSettingsSource):
    """Values of settings from the files that `NNPM_X_FILE` names; line ends at a file's end do not count."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """A setting's value, or None. Raises InvalidArgument INVALID_SETTINGS."""
        variable = f"{self.config['env_prefix']}{field_name}".upper()
        return value_in_file(os.environ, variable), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Every setting that a file holds."""
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


def value_in_file(environ: Mapping[str, str], variable: str) -> str | None:
    """What stands in the file that `VARIABLE_FILE` names; None where none is. Raises InvalidArgument."""
    path = environ.get(f"{variable}_FILE")
    if not path:
        return None
    if environ.get(variable):
        raise InvalidArgument(
            "INVALID_SETTINGS", f"settings are wrong: {variable} and {variable}_FILE are both set; keep one"
        )
    return _setting_in(Path(path), f"{variable}_FILE")


def _setting_in(path: Path, variable: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise _no_setting(path, variable, error.strerror or str(error)) from None
    if len(content) > LONGEST_FILE:
        raise _no_setting(path, variable, f"it is longer than {LONGEST_FILE:,} bytes")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _no_setting(path, variable, "it is not UTF-8") from None


def _no_setting(path: Path, variable: str, why: str) -> InvalidArgument:
    return InvalidArgument("INVALID_SETTINGS", f"settings are wrong: {variable} names {path}: {why}")


class ServiceSettings(BaseSettings):
    """The fields that all services have."""

    model_config = SettingsConfigDict(
        env_prefix="NNPM_",
        extra="ignore",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level to log.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="How to log: `json` lines, `console` for people, `auto` = console on a terminal."
    )
    otlp_endpoint: str = Field("", description="OTLP/gRPC receiver of traces, `http://host:port`; empty = no export.")
    trace_sample_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of calls traced when the caller has not decided, 0 to 1."
    )
    trace_samples_per_second: float = Field(
        10.0,
        gt=0,
        description="Calls a second that a scheduler traces at most of its own accord; a ratio of 1 has no such limit.",
    )
    metrics_listen: str = Field("", description="`host:port` of the Prometheus endpoint; empty = off.")
    insecure: bool = Field(
        False, description="Allow listen addresses other than loopback without TLS (a private network)."
    )
    tls_cert: Path | None = Field(None, description="PEM certificate chain of this process.")
    tls_key: Path | None = Field(None, description="PEM private key of `tls_cert`.")
    tls_ca: Path | None = Field(None, description="PEM certificates that peers are verified against.")
    max_message_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, le=2**31 - 1, description="Largest gRPC message, both ways, in bytes."
    )
    shutdown_grace_seconds: float = Field(
        8.0, ge=0, description="How long a stopping process lets calls in flight finish, seconds."
    )
    transport: Literal["auto", "native", "grpc"] = Field(
        "auto",
        description="What carries inference: `native` (nnpm_wire), `grpc` (grpc.aio), `auto` = native where installed.",
    )
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis or Valkey >= 6.2: `redis://` or `unix://`.")
    registry_address: str = Field("127.0.0.1:8101", description="Where the registry listens.")
    artifact_address: str = Field("127.0.0.1:8102", description="Where the artifact service listens.")
    scheduler_address: str = Field("127.0.0.1:8001", description="Where the scheduler takes inference calls.")
    control_address: str = Field("127.0.0.1:8103", description="Where the scheduler takes deployments.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where values come from, the first one first; flags go before all of them."""
        return init_settings, FilesSource(settings_cls), env_settings

    @property
    def tls(self) -> Tls:
        """What this process shows and trusts. Raises InvalidArgument INVALID_SETTINGS when one of a pair is missing."""
        return Tls(self.tls_cert, self.tls_key, self.tls_ca)

    @classmethod
    def load(cls, arguments: Sequence[str] | None = None) -> Self:
        """Read flags (default: the process's own) and the environment; raises InvalidArgument naming what is wrong."""
        arguments = sys.argv[1:] if arguments is None else arguments
        try:
            return cls(_cli_parse_args=list(arguments))  # type: ignore[call-arg]
        except ValidationError as error:
            raise invalid_settings(error) from None


def invalid_settings(error: ValidationError) -> InvalidArgument:
    """One error that names every setting that is wrong, by its environment variable."""
    violations = [
        FieldViolation("NNPM_" + "_".join(map(str, fault["loc"])).upper(), fault["msg"]) for fault in error.errors()
    ]
    text = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return InvalidArgument("INVALID_SETTINGS", f"settings are wrong: {text}", violations=violations)
