import hashlib
from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument
from nnpm.package.digest import check_digest, digest_of, digest_of_file, format_digest, parse_digest


def test_bytes_and_files_have_the_digest_that_sha256_gives(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    path = tmp_path / "file"
    path.write_bytes(content)
    expected = "sha256:" + hashlib.sha256(content).hexdigest()
    assert digest_of(content) == digest_of_file(path) == expected
    assert format_digest(parse_digest(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, "sha512:" + "0" * 64, "0" * 64, "sha256:" + "0" * 65]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_digest(text)
    assert caught.value.reason == "INVALID_DIGEST"
