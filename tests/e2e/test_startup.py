"""What must not start does not, and says in one line why."""

import json
from pathlib import Path

import pytest

from support.mesh import Mesh
from support.ports import free_port, free_ports
from support.processes import Process

REFUSED = 4
"""Exit code of the command line."""

LISTENS = {
    "nnpm_registry": "NNPM_REGISTRY_LISTEN",
    "nnpm_artifact": "NNPM_ARTIFACT_LISTEN",
    "nnpm_scheduler": "NNPM_SCHEDULER_LISTEN",
}


def _environment(module: str, folder: Path, listen: str, redis_url: str) -> dict[str, str]:
    service = module.removeprefix("nnpm_")
    return {
        LISTENS[module]: listen,
        "NNPM_REDIS_URL": redis_url,
        "NNPM_MESH_LISTEN": f"unix:{folder / 'mesh.sock'}",
        "NNPM_CONTROL_LISTEN": f"127.0.0.1:{free_port()}",
        f"NNPM_{service.upper()}_DATABASE_URL": f"sqlite:///{folder / 'service.db'}",
        "NNPM_ARTIFACT_STORE": (folder / "packs").as_uri(),
        "NNPM_ARTIFACT_ADDRESS": "127.0.0.1:1",
        "NNPM_REGISTRY_ADDRESS": "127.0.0.1:1",
    }


@pytest.mark.parametrize("module", LISTENS)
@pytest.mark.parametrize("listen", ["0.0.0.0", "[::]"])
def test_no_service_listens_beyond_loopback_without_tls(
    module: str, listen: str, tmp_path: Path, redis_url: str
) -> None:
    environment = _environment(module, tmp_path, f"{listen}:{free_port()}", redis_url)
    with Process.service(module, tmp_path / "log", environment) as service:
        assert service.wait(30) == 1
        assert "LISTEN_NOT_LOOPBACK" in service.output
        assert "Traceback" not in service.output


def test_a_second_mesh_on_the_same_data_is_refused_naming_the_first(mesh: Mesh) -> None:
    done = mesh.cli(
        *("up", "--data", str(mesh.data), "--port-base", str(free_ports(4)), "--detach", "--json"), check=False
    )
    assert done.returncode == REFUSED, done.stderr
    assert str(mesh.port_base) in done.stderr or str(mesh.data) in done.stderr
    assert json.loads(done.stderr)
    assert mesh.healthy()


def test_data_written_by_a_newer_nnpm_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "format").write_text("999\n")
    other = Mesh(tmp_path / "mesh")
    done = other.cli(*("up", "--data", str(other.data), "--port-base", str(other.port_base), "--detach"), check=False)
    assert done.returncode == REFUSED, done.stderr
    assert "newer" in done.stderr
    assert [path.name for path in other.data.iterdir() if path.name == "registry"] == []


def test_a_taken_port_is_named(mesh: Mesh, tmp_path: Path) -> None:
    done = mesh.cli(
        *("up", "--data", str(tmp_path / "other"), "--port-base", str(mesh.port_base), "--detach"), check=False
    )
    assert done.returncode in (1, REFUSED, 5), done.stderr
    assert str(mesh.port_base) in done.stderr
    assert mesh.healthy()


def test_two_meshes_live_side_by_side(mesh: Mesh, tmp_path: Path) -> None:
    other = Mesh(tmp_path / "other").up()
    try:
        assert other.healthy()
        assert mesh.healthy()
        pids = {service["pid"] for service in other.services().values()}
        assert not pids & {service["pid"] for service in mesh.services().values()}
    finally:
        other.down()
    assert mesh.healthy()
