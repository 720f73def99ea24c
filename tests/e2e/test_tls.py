"""A mesh with TLS: ports answer those who show a certificate and nobody else, and all goes on as ever."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from support import models
from support.mesh import Mesh

_INVALID = 4


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """Settings with a certificate for 127.0.0.1 that is its own authority."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=nnpm", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
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
