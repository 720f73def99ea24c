"""A disk's errors, as a caller sees them."""

import errno
from pathlib import Path

import pytest

from nnpm.errors import ResourceExhausted, Unavailable
from nnpm_artifact.disk import check_space, disk_errors


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_disk_full(number: int) -> None:
    with pytest.raises(ResourceExhausted) as caught, disk_errors(Path("/data/packs/x")):
        raise OSError(number, "no space")
    assert caught.value.reason == "DISK_FULL"
    assert "/data/packs" in caught.value.message


def test_any_other_fault_is_unavailable() -> None:
    with pytest.raises(Unavailable) as caught, disk_errors(Path("/data/packs/x")):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.reason == "STORE_UNAVAILABLE"


def test_more_than_the_disk_has_is_refused(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    with pytest.raises(ResourceExhausted) as caught:
        check_space(tmp_path, 1 << 60)
    assert caught.value.reason == "DISK_FULL"
