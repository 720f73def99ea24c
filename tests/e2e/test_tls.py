"""A mesh with TLS: ports answer those who show a certificate and nobody else, and all goes on as ever."""

from pathlib import Path

import numpy as np
import pytest

from support import models
from support.certificates import self_signed
from support.mesh import Mesh

_INVALID = 4


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """Settings with a certificate for 127.0.0.1 that is its own authority."""
    cert, key = self_signed(tmp_path)
    return {"NNPM_TLS_CERT": str(cert), "NNPM_TLS_KEY": str(key), "NNPM_TLS_CA": str(cert)}


def test_a_mesh_with_tls_is_healthy_and_serves_those_who_show_a_certificate(
    certificate: dict[str, str], tmp_path: Path
) -> None:
    mesh = Mesh(tmp_path / "mesh", environment=certificate)
    try:
        mesh.up()
        assert mesh.healthy()
        model = models.save(models.linear(), tmp_path)
        mesh.publish(model, "test/linear")
        mesh.deploy("test/linear")
        assert mesh.infer("test/linear", {"x": np.ones((1, 4), np.float32)}, tmp_path)["y"].shape[0] == 1
        stranger = Mesh(mesh.data)
        refused = stranger.cli("search", "test", check=False)
        assert refused.returncode != 0
        assert not stranger.healthy()
    finally:
        mesh.down()


def test_a_certificate_without_an_authority_is_refused_at_once(certificate: dict[str, str], tmp_path: Path) -> None:
    del certificate["NNPM_TLS_CA"]
    mesh = Mesh(tmp_path / "mesh", environment=certificate)
    done = mesh.cli("up", "--data", str(mesh.data), "--detach", check=False)
    assert done.returncode == _INVALID
    assert "NNPM_TLS_CA" in done.stderr
