from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument
from nnpm.package.lock import Lock, LockedVersion

DIGEST = "sha256:" + "a" * 64


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    lock = Lock({"acme/tiny": LockedVersion("^ 1.2", "1.2.3", DIGEST), "acme/b": LockedVersion("*", "0.1.0", DIGEST)})
    lock.save(tmp_path / "nnpm.lock")
    assert Lock.load(tmp_path / "nnpm.lock") == lock
    assert [path.name for path in tmp_path.iterdir()] == ["nnpm.lock"]


def test_no_lock_is_an_empty_one(tmp_path: Path) -> None:
    assert Lock.load(tmp_path / "nnpm.lock").packages == {}


@pytest.mark.parametrize("content", ["format = 2", "format =", 'format = 1\n[[package]]\nname = "a"', "surprise = 1"])
def test_a_lock_that_is_newer_or_broken_is_refused_with_a_hint(tmp_path: Path, content: str) -> None:
    path = tmp_path / "nnpm.lock"
    path.write_text(content)
    with pytest.raises(InvalidArgument) as caught:
        Lock.load(path)
    assert caught.value.reason == "INVALID_LOCK"
    assert "resolve anew" in caught.value.hint
