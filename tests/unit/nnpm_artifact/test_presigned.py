"""What the URL of a range says. That servers take it, and nothing else, is tested in integration."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from nnpm.errors import InvalidArgument
from nnpm_artifact.presigned import Endpoint, RangeSigner

NOW = datetime(2026, 11, 25, 8, 30, 0, tzinfo=UTC)


def test_a_url_says_what_it_opens_and_until_when() -> None:
    signer = RangeSigner(Endpoint.parse("http://127.0.0.1:9000"), "packs", "eu-1", "key", "secret", 300)
    url = urlsplit(signer.sign("team a/chunks/3f/x", 16, 100, NOW))
    assert (url.scheme, url.netloc, url.path) == ("http", "127.0.0.1:9000", "/packs/team%20a/chunks/3f/x")
    query = {name: value for name, (value,) in parse_qs(url.query).items()}
    signature = query.pop("X-Amz-Signature")
    assert query == {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "key/20261125/eu-1/s3/aws4_request",
        "X-Amz-Date": "20261125T083000Z",
        "X-Amz-Expires": "300",
        "X-Amz-SignedHeaders": "host;range",
    }
    assert len(signature) == 64
    assert "secret" not in url.geturl()


def test_another_range_has_another_signature() -> None:
    signer = RangeSigner(Endpoint.parse("http://127.0.0.1:9000"), "packs", "eu-1", "key", "secret", 300)
    assert len({signer.sign("x", first, length, NOW) for first in (16, 17) for length in (100, 101)}) == 4


def test_a_schemes_own_port_is_left_out_as_clients_leave_it_out() -> None:
    assert Endpoint.parse("https://s3.example.org:443/") == Endpoint("https", "s3.example.org")
    assert Endpoint.parse("http://s3.example.org:443") == Endpoint("http", "s3.example.org:443")


@pytest.mark.parametrize("url", ["on", "s3.example.org:9000", "ftp://s3.example.org", "http://s3.example.org/bucket"])
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Endpoint.parse(url)
    assert caught.value.reason == "INVALID_SETTINGS"
