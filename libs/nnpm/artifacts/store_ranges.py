"""Ranges of the store, fetched by URLs that the artifact service signed, over one kept-alive connection."""

import contextlib
import hashlib
import http.client
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_CONNECT_SECONDS = 3.0
_SILENCE_SECONDS = 20.0


class StoreOutOfReachError(Exception):
    """The store cannot be reached from here, refuses, or gives something else: the service is asked instead."""


@dataclass(frozen=True, slots=True)
class StoreRange:
    """Chunks that lie one after the other in an object of the store."""

    url: str
    first_byte: int
    """Of the object."""
    chunks: Sequence[tuple[int, bytes]]
    """Size in bytes and SHA-256 (32 bytes) of each."""

    @property
    def length(self) -> int:
        """Bytes."""
        return sum(size for size, _ in self.chunks)


class StoreConnection:
    """Fetches one range after the other. Its methods block; one thread at a time."""

    def __init__(self) -> None:
        self._place = ("", "")
        self._http: http.client.HTTPConnection | None = None

    def fetch(self, wanted: StoreRange) -> memoryview:
        """The range's bytes, every chunk verified. Raises StoreOutOfReachError."""
        try:
            content = self._get(wanted)
        except (OSError, http.client.HTTPException, ValueError) as fault:
            self.close()
            raise StoreOutOfReachError(f"{type(fault).__name__}: {fault}") from fault
        at = 0
        for size, digest in wanted.chunks:
            if hashlib.sha256(content[at : at + size]).digest() != digest:
                raise StoreOutOfReachError(f"chunk sha256:{digest.hex()} came damaged")
            at += size
        return content

    def close(self) -> None:
        """Closes the connection; the next fetch opens another."""
        if self._http is not None:
            with contextlib.suppress(OSError):
                self._http.close()
        self._http = None

    def _get(self, wanted: StoreRange) -> memoryview:
        parts = urlsplit(wanted.url)
        connection = self._connected(parts.scheme, parts.netloc)
        length = wanted.length
        last = wanted.first_byte + length - 1
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Range": f"bytes={wanted.first_byte}-{last}"})
        answer = connection.getresponse()
        if answer.status != http.client.PARTIAL_CONTENT or answer.length != length:
            raise ValueError(f"the store answered {answer.status} with {answer.length} bytes")
        content = memoryview(bytearray(length))
        at = 0
        while at < length:
            count = answer.readinto(content[at:])
            if not count:
                raise ValueError(f"the store sent {at} of {length} bytes")
            at += count
        answer.close()
        return content.toreadonly()

    def _connected(self, scheme: str, place: str) -> http.client.HTTPConnection:
        if self._http is not None and self._place == (scheme, place):
            return self._http
        self.close()
        connection = _connection(scheme, place)
        connection.connect()
        connection.sock.settimeout(_SILENCE_SECONDS)
        self._place, self._http = (scheme, place), connection
        return connection


def _connection(scheme: str, place: str) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(place, timeout=_CONNECT_SECONDS)
    if scheme == "http":
        return http.client.HTTPConnection(place, timeout=_CONNECT_SECONDS)
    raise ValueError(f"a URL of scheme {scheme!r}")
