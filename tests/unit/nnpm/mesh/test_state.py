"""mesh.json."""

from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition
from nnpm.mesh.data_folder import DataFolder
from nnpm.mesh.state import Addresses, MeshState, RunningProcess, read_state, remove_state, write_state

STATE = MeshState(
    7,
    "0.1.0",
    Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", "unix:/t"),
    (RunningProcess("redis", 8, "unix:///r", ("unix:///r",)), RunningProcess("registry", None, "a:1", ("a:1", "b:2"))),
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    assert read_state(folder) is None
    write_state(folder, STATE)
    assert read_state(folder) == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["mesh.json"], "no half-written file is left"
    remove_state(folder)
    assert read_state(folder) is None


def test_a_restart_changes_one_pid() -> None:
    changed = STATE.with_pid("registry", 9)
    assert [process.pid for process in changed.processes] == [8, 9]
    assert changed.with_pid("registry", None) == STATE


@pytest.mark.parametrize(
    "content", [b"", b'{"supervisor":', b"\xff\xfe", b"[]", b"{}", b'{"supervisor": 1, "addresses": {"x": 1}}']
)
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    folder = DataFolder.at(tmp_path)
    folder.state_file.write_bytes(content)
    with pytest.raises(FailedPrecondition) as caught:
        read_state(folder)
    assert caught.value.reason == "DATA_FOLDER_UNUSABLE"
    assert str(folder.state_file) in caught.value.message
