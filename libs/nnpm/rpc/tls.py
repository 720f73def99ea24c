"""Credentials from PEM files, and the rule which addresses may be listened on without them."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from nnpm.errors import FailedPrecondition, InvalidArgument


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: own certificate chain and key, and the authorities that peers are verified against."""

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidArgument("INVALID_SETTINGS", "NNPM_TLS_CERT and NNPM_TLS_KEY go together; one is missing")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """NNPM_TLS_CERT, NNPM_TLS_KEY and NNPM_TLS_CA, as far as they are set, for whoever is no service."""
        cert, key, ca = (
            Path(value) if (value := environ.get(f"NNPM_TLS_{name}", "")) else None for name in ("CERT", "KEY", "CA")
        )
        return cls(cert, key, ca)

    def server_pem(self) -> tuple[bytes, bytes, bytes | None] | None:
        """What to serve with, for who speaks TLS without gRPC: chain, key, authorities of clients; None without."""
        if self.cert is None or self.key is None:
            return None
        return _read(self.cert), _read(self.key), _read(self.ca) if self.ca else None

    def channel_pem(self) -> tuple[bytes, bytes | None, bytes | None] | None:
        """What to dial with: authorities, own chain and key; None when no authority is named."""
        if self.ca is None:
            return None
        own = (_read(self.cert), _read(self.key)) if self.cert is not None and self.key is not None else (None, None)
        return (_read(self.ca), *own)

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """Credentials to serve with, or None without a certificate. With `ca`, clients must show a certificate too."""
        if self.cert is None or self.key is None:
            return None
        pair = (_read(self.key), _read(self.cert))
        return grpc.ssl_server_credentials([pair], _read(self.ca) if self.ca else None, self.ca is not None)

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Credentials to dial with, or None when no authority is named."""
        if self.ca is None:
            return None
        key, cert = (_read(self.key), _read(self.cert)) if self.key and self.cert else (None, None)
        return grpc.ssl_channel_credentials(_read(self.ca), key, cert)


def check_listen(address: str, *, secure: bool, insecure_allowed: bool) -> None:
    """Refuse to listen beyond loopback in the clear, unless `insecure` says so in so many words."""
    if secure or insecure_allowed or is_local(address):
        return
    raise FailedPrecondition(
        "LISTEN_NOT_LOOPBACK",
        f"{address} is reachable from other machines, and there is no TLS",
        hint="set NNPM_TLS_CERT and NNPM_TLS_KEY, or NNPM_INSECURE=true on a private network",
        metadata={"address": address},
    )


def is_local(address: str) -> bool:
    """Whether an address (`host:port`, `[::1]:port`, `unix:/path`) is reachable from this machine only."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument("INVALID_SETTINGS", f"cannot read {path}: {error.strerror}") from None
