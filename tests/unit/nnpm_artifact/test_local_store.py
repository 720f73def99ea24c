"""What is particular to the local store; the promise that it shares with the S3 stores is tested in integration."""

from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition, Unavailable
from nnpm_artifact.local_store import LocalStore


def test_two_cannot_have_it_open_at_once(tmp_path: Path) -> None:
    first = LocalStore(tmp_path)
    with pytest.raises(FailedPrecondition) as caught:
        LocalStore(tmp_path)
    assert caught.value.reason == "STORE_IN_USE"
    first.close()
    LocalStore(tmp_path).close()


def test_staging_is_emptied_and_packs_stay_when_it_is_opened(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    left = store.stage(None)
    left.write([b"data"])
    store.put("chunks/aa/one", left)
    store.close()
    store = LocalStore(tmp_path)
    assert list(store.staging.iterdir()) == []
    assert store.read("chunks/aa/one", 0, 4) == b"data"
    store.close()


def test_a_half_written_pack_is_never_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (store.staging / "half.pack").write_bytes(b"half")
    (tmp_path / "chunks").mkdir()
    (tmp_path / "chunks" / "notes.txt").write_bytes(b"not a pack")
    assert list(store.list("chunks/")) == []
    store.close()


def test_a_folder_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "packs")
    store.check()
    (tmp_path / "packs").rename(tmp_path / "moved")
    with pytest.raises(Unavailable) as caught:
        store.check()
    assert caught.value.reason == "STORE_UNAVAILABLE"
    store.close()


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable) as caught:
        LocalStore(tmp_path / "file")
    assert caught.value.reason == "STORE_UNAVAILABLE"
