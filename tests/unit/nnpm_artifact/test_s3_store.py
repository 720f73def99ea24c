"""Where a bucket is, and a server that is not there. The promise is tested in integration, on real servers."""

import time
from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument, Unavailable
from nnpm_artifact.s3_store import Bucket, S3Store
from support.ports import free_port


def test_a_bucket_is_read_from_its_url() -> None:
    assert Bucket.parse("s3://packs?endpoint=http://127.0.0.1:9000") == Bucket(
        "packs", "", "127.0.0.1:9000", secure=False, region="us-east-1"
    )
    assert Bucket.parse("s3://packs/team/a/?endpoint=https://s3.example.org&region=eu-1") == Bucket(
        "packs", "team/a/", "s3.example.org", secure=True, region="eu-1"
    )


@pytest.mark.parametrize(
    "url",
    [
        "s3://packs",
        "s3:///packs?endpoint=http://127.0.0.1:9000",
        "s3://packs?endpoint=127.0.0.1:9000",
        "s3://packs?endpoint=ftp://127.0.0.1:9000",
        "http://packs?endpoint=http://127.0.0.1:9000",
    ],
)
def test_a_url_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Bucket.parse(url)
    assert caught.value.reason == "INVALID_SETTINGS"


def test_a_server_that_is_not_there_is_unavailable_within_seconds(tmp_path: Path) -> None:
    bucket = Bucket.parse(f"s3://packs?endpoint=http://127.0.0.1:{free_port()}")
    store = S3Store(bucket, "key", "secret", tmp_path / "staging")
    staged = store.stage(100)
    staged.write([b"data"])
    begun = time.monotonic()
    for act in (
        store.check,
        lambda: store.put("chunks/aa/one", staged),
        lambda: store.read("chunks/aa/one", 0, 1),
        lambda: store.size("chunks/aa/one"),
        lambda: store.delete("chunks/aa/one"),
        lambda: list(store.list("chunks/")),
    ):
        with pytest.raises(Unavailable) as caught:
            act()
        assert caught.value.reason == "STORE_UNAVAILABLE"
    assert time.monotonic() - begun < 30
    store.close()
