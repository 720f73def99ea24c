"""mesh.json."""

from pathlib import Path

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
