"""The data folder: its format, its lock, and what both refuse."""

import os
from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition
from nnpm.mesh.data_folder import FORMAT, DataFolder, FolderLock, lock_holder


def test_a_new_folder_gets_the_current_format_and_its_rooms(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / "data")
    folder.root.mkdir()
    folder.prepare()
    assert folder.format_file.read_text() == f"{FORMAT}\n"
    assert folder.packs.is_dir()
    assert folder.worker_cache.is_dir()
    assert folder.database_url("registry") == f"sqlite:///{tmp_path}/data/registry/registry.db"


def test_a_newer_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    folder.format_file.write_text(f"{FORMAT + 1}\n")
    with pytest.raises(FailedPrecondition) as caught:
        folder.prepare()
    assert caught.value.reason == "DATA_FOLDER_NEWER"
    assert f"format {FORMAT + 1}" in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["format"]


def test_an_older_folder_is_migrated_step_by_step(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    folder.format_file.write_text("1\n")
    steps: list[int] = []
    folder.prepare({1: lambda _: steps.append(1), 2: lambda _: steps.append(2)}, current=3)
    assert steps == [1, 2]
    assert folder.format_file.read_text() == "3\n"
    folder.prepare({1: lambda _: steps.append(1), 2: lambda _: steps.append(2)}, current=3)
    assert steps == [1, 2]


def test_an_interrupted_migration_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    folder.format_file.write_text("1\n")
    steps: list[int] = []

    def breaks(_: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folder.prepare({1: lambda _: steps.append(1), 2: breaks}, current=3)
    folder.prepare({1: lambda _: steps.append(1), 2: lambda _: steps.append(2)}, current=3)
    assert steps == [1, 2]


@pytest.mark.parametrize("content", [b"one\n", b"", b"\xed\xff\x00", b"1" * 5000, b"-1", "\u0661".encode(), None])
def test_a_format_that_is_no_number_is_refused(tmp_path: Path, content: bytes | None) -> None:
    folder = DataFolder.at(tmp_path)
    if content is None:
        folder.format_file.mkdir()
    else:
        folder.format_file.write_bytes(content)
    with pytest.raises(FailedPrecondition) as caught:
        folder.prepare()
    assert caught.value.reason == "DATA_FOLDER_UNUSABLE"


def test_a_held_lock_names_its_holder(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / "data")
    lock = FolderLock.take(folder)
    lock.describe("127.0.0.1:8001")
    with pytest.raises(FailedPrecondition) as caught:
        FolderLock.take(folder, patience=0.0)
    assert caught.value.reason == "DATA_FOLDER_IN_USE"
    assert caught.value.metadata["pid"] == str(os.getpid())
    assert "127.0.0.1:8001" in caught.value.message
    holder = lock_holder(folder)
    assert holder is not None
    assert holder.pid == os.getpid()
    lock.release()
    assert lock_holder(folder) is None
    FolderLock.take(folder).release()


def test_looking_at_a_free_lock_does_not_take_it(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    FolderLock.take(folder).release()
    assert lock_holder(folder) is None
    FolderLock.take(folder, patience=0.0).release()


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedPrecondition) as caught:
        FolderLock.take(DataFolder.at(tmp_path / "file" / "data"))
    assert caught.value.reason == "DATA_FOLDER_UNUSABLE"
    assert str(tmp_path) in caught.value.message
