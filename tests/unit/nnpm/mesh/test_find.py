"""How a client finds the mesh that is meant."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument, Unavailable
from nnpm.mesh.data_folder import DataFolder, FolderLock
from nnpm.mesh.find import data_folder, find_mesh
from nnpm.mesh.state import Addresses, MeshState, write_state


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A data folder in which, by all signs, a mesh runs."""
    folder = DataFolder.at(tmp_path / "running")
    lock = FolderLock.take(folder)
    addresses = Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", "unix:/t")
    write_state(folder, MeshState(1, "0.1.0", addresses, (), ready=True))
    yield folder.root
    lock.release()


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings under which nothing but the defaults is found, whatever the person who runs the tests has at home."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return {"NNPM_CONFIG": str(tmp_path / "config.toml")}


def write_config(environ: dict[str, str], text: str) -> None:
    Path(environ["NNPM_CONFIG"]).write_text(text)


def test_the_flag_wins_over_every_setting(running: Path, environ: dict[str, str]) -> None:
    environ |= {"NNPM_REGISTRY_ADDRESS": "elsewhere:1", "NNPM_DATA": "/nowhere"}
    found = find_mesh(running, environ)
    assert found.registry == "127.0.0.1:3"
    assert found.traces == "unix:/t"
    assert str(running) in found.source


def test_a_setting_wins_over_the_data_folder_one_by_one(running: Path, environ: dict[str, str]) -> None:
    environ |= {"NNPM_REGISTRY_ADDRESS": "elsewhere:1", "NNPM_DATA": str(running)}
    found = find_mesh(None, environ)
    assert found.registry == "elsewhere:1"
    assert found.scheduler == "127.0.0.1:1"


def test_with_all_four_addresses_no_folder_is_needed(environ: dict[str, str]) -> None:
    names = ("SCHEDULER", "CONTROL", "REGISTRY", "ARTIFACT")
    environ |= {f"NNPM_{name}_ADDRESS": f"{name.lower()}.example:1" for name in names} | {"NNPM_DATA": "/nowhere"}
    assert find_mesh(None, environ).control == "control.example:1"


def test_a_named_folder_without_a_mesh_is_an_error_that_says_how_to_start_one(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    for data, settings in ((tmp_path, environ), (None, environ | {"NNPM_DATA": str(tmp_path)})):
        with pytest.raises(Unavailable) as caught:
            find_mesh(data, settings)
        assert caught.value.reason == "MESH_NOT_RUNNING"
        assert f"nnpm up --data {tmp_path}" in caught.value.hint


def test_a_mesh_that_was_killed_is_not_found(running: Path, environ: dict[str, str], tmp_path: Path) -> None:
    left = DataFolder.at(tmp_path / "left")
    left.root.mkdir()
    left.state_file.write_bytes((running / "mesh.json").read_bytes())
    with pytest.raises(Unavailable):
        find_mesh(left.root, environ)


def test_a_profile_names_addresses_or_a_data_folder(running: Path, environ: dict[str, str]) -> None:
    write_config(
        environ,
        f"""
        default = "lab"
        [profiles.lab]
        scheduler = "lab:8001"
        [profiles.here]
        data = "{running}"
        """,
    )
    lab = find_mesh(None, environ)
    assert (lab.scheduler, lab.registry, lab.source) == ("lab:8001", "127.0.0.1:8101", "profile lab")
    here = find_mesh(None, environ | {"NNPM_PROFILE": "here"})
    assert here.scheduler == "127.0.0.1:1"
    assert data_folder(None, environ | {"NNPM_PROFILE": "here"}) == running


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("default = ", "not valid TOML"),
        ("[profiles.other]\n", "no profile 'lab'"),
        ("[profiles.lab]\nregistrie = 'x'\n", "unknown keys: registrie"),
        ("[profiles.lab]\nregistry = 8101\n", "must hold texts"),
    ],
)
def test_a_config_file_with_a_mistake_is_named(environ: dict[str, str], config: str, message: str) -> None:
    write_config(environ, config)
    with pytest.raises(InvalidArgument, match=message) as caught:
        find_mesh(None, environ | {"NNPM_PROFILE": "lab"})
    assert environ["NNPM_CONFIG"] in caught.value.message


def test_without_anything_the_default_ports_are_tried(environ: dict[str, str]) -> None:
    found = find_mesh(None, environ)
    assert (found.scheduler, found.registry, found.artifact, found.control) == (
        "127.0.0.1:8001",
        "127.0.0.1:8101",
        "127.0.0.1:8102",
        "127.0.0.1:8103",
    )
    assert found.traces == ""


def test_the_default_data_folder_is_found_when_its_mesh_runs(environ: dict[str, str], tmp_path: Path) -> None:
    folder = DataFolder.at(data_folder(None, environ))
    assert tmp_path in folder.root.parents
    lock = FolderLock.take(folder)
    write_state(folder, MeshState(1, "0.1.0", Addresses("a:1", "a:2", "a:3", "a:4", "unix:/t"), (), ready=True))
    assert find_mesh(None, environ).scheduler == "a:1"
    lock.release()
    assert find_mesh(None, environ).source == "the default ports"
