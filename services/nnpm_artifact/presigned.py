"""URLs that open one range of one object for a while: AWS Signature V4 in the query, the Range header signed with it.

Whoever has such a URL reads these bytes and no others of the pack.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from nnpm.errors import InvalidArgument

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The store as readers reach it."""

    scheme: str
    host: str
    """With the port, unless it is the scheme's own."""

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Raises InvalidArgument INVALID_SETTINGS."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.netloc or parts.path.strip("/") or parts.query:
            raise InvalidArgument(
                "INVALID_SETTINGS",
                f"{url!r} is no endpoint of a store",
                hint="auto, off or http(s)://HOST:PORT",
                metadata={"setting": "NNPM_ARTIFACT_DIRECT_ENDPOINT"},
            )
        return cls(parts.scheme, parts.netloc.removesuffix(_DEFAULT_PORTS[parts.scheme]))


@dataclass(frozen=True, slots=True)
class RangeSigner:
    """Signs for one bucket."""

    endpoint: Endpoint
    bucket: str
    region: str
    access_key: str
    secret_key: str
    seconds: int
    """How long a URL is good for."""

    def sign(self, key: str, first_byte: int, length: int, now: datetime | None = None) -> str:
        """A URL for GET of `length` bytes from `first_byte`, with that very Range header."""
        now = now or datetime.now(UTC)
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        path = quote(f"/{self.bucket}/{key}", safe="/-_.~")
        query = "&".join(
            f"{name}={quote(value, safe='-_.~')}"
            for name, value in (
                ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
                ("X-Amz-Credential", f"{self.access_key}/{scope}"),
                ("X-Amz-Date", stamp),
                ("X-Amz-Expires", str(self.seconds)),
                ("X-Amz-SignedHeaders", "host;range"),
            )
        )
        headers = f"host:{self.endpoint.host}\nrange:bytes={first_byte}-{first_byte + length - 1}\n"
        request = f"GET\n{path}\n{query}\n{headers}\nhost;range\nUNSIGNED-PAYLOAD"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        secret = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            secret = hmac.digest(secret, part.encode(), "sha256")
        signature = hmac.digest(secret, to_sign.encode(), "sha256").hex()
        return f"{self.endpoint.scheme}://{self.endpoint.host}{path}?{query}&X-Amz-Signature={signature}"
