import os
from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition, InvalidArgument
from nnpm.package.source_file import SourceFile


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "weights.bin").write_bytes(b"weights")
    return tmp_path / "weights.bin"


def test_the_file_that_was_found_is_the_one_that_opens(weights: Path) -> None:
    found = SourceFile.found(weights, weights)
    assert (found.size, found.links) == (7, 1)
    with found.open() as file:
        assert file.read() == b"weights"


@pytest.mark.parametrize("how", ["symlink", "hard link", "other file", "pipe", "folder", "removed", "device"])
def test_a_file_swapped_between_check_and_use_is_not_read(weights: Path, how: str) -> None:
    found = SourceFile.found(weights, weights)
    weights.rename(weights.with_name("kept"))  # so that its inode is not free for what comes
    secret = weights.with_name("secret")
    match how:
        case "symlink":
            weights.symlink_to(secret)
        case "hard link":
            weights.hardlink_to(secret)
        case "other file":
            weights.write_bytes(b"weights")
        case "pipe":
            os.mkfifo(weights)
        case "folder":
            weights.mkdir()
        case "device":
            weights.symlink_to("/dev/zero")
    with pytest.raises(FailedPrecondition) as caught:
        found.open()
    assert caught.value.reason == "UPLOAD_CHANGED"


def test_what_is_no_regular_file_is_not_found(weights: Path) -> None:
    pipe = weights.with_name("pipe")
    os.mkfifo(pipe)
    for path in (pipe, weights.parent):
        with pytest.raises(InvalidArgument) as caught:
            SourceFile.found(path, path)
        assert caught.value.reason == "INVALID_PATH"
