"""The folder of the sockets: private, and always short enough."""

import stat
from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition
from nnpm.mesh.run_folder import PATH_LIMIT, clear_run_folder, run_folder


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where run folders go that find no place in the data folder."""
    base = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    return base


def test_it_lies_in_the_data_folder_and_only_its_owner_may_enter(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    assert folder == tmp_path / "run"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_long_data_path_gets_a_short_folder_elsewhere(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 120)
    data.mkdir()
    folder = run_folder(data)
    try:
        assert len(str(folder / "worker-999.sock")) <= PATH_LIMIT
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert run_folder(data) == folder, "the same each time"
    finally:
        folder.rmdir()


def test_a_path_that_an_address_cannot_spell_gets_a_plain_folder(tmp_path: Path, short: Path) -> None:
    data = tmp_path / "50 % off"
    data.mkdir()
    assert run_folder(data).parent == short


def test_a_folder_that_others_prepared_is_refused(tmp_path: Path, short: Path) -> None:
    data = tmp_path / "a b"
    data.mkdir()
    folder = run_folder(data)
    folder.rmdir()
    (tmp_path / "theirs").mkdir()
    folder.symlink_to(tmp_path / "theirs")
    with pytest.raises(FailedPrecondition) as caught:
        run_folder(data)
    assert caught.value.reason == "RUN_FOLDER_UNSAFE"


def test_nothing_is_left_of_it_after_the_mesh(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "redis.sock").touch()
    clear_run_folder(folder)
    assert not folder.exists()
    run_folder(tmp_path)
    (folder / "somebody's notes").touch()
    clear_run_folder(folder)
    assert folder.exists()
