"""scripts/pin-images writes the digest that a registry tells, asking for a token where it must, and nothing else."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from support.tools import REPOSITORY

DIGEST = f"sha256:{'ab' * 32}"
OLD = f"sha256:{'01' * 32}"


class Registry(BaseHTTPRequestHandler):
    """A registry of one repository that tells digests to bearers of a token, and gives the token to all."""

    def do_GET(self) -> None:
        self._answer(200, {"Content-Type": "application/json"}, json.dumps({"token": "for-all"}).encode())

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer for-all":
            realm = f"http://127.0.0.1:{self.server.server_address[1]}/token"
            self._answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry",scope="pull"'})
        elif self.path == "/v2/library/python/manifests/3.11" and "oci.image.index" in self.headers["Accept"]:
            self._answer(200, {"Docker-Content-Digest": DIGEST})
        else:
            self._answer(404, {})

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nobody reads them."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _clone(root: Path, base: str, service: str) -> tuple[Path, Path]:
    """The two files that name images, in a clone that holds nothing else."""
    dockerfile, compose = root / "deploy/docker/Dockerfile", root / "deploy/compose/compose.yaml"
    for path in (dockerfile, compose):
        path.parent.mkdir(parents=True)
    dockerfile.write_text(f"# kept\nARG PYTHON_IMAGE={base}\nARG VERSION=0.1.0\nFROM ${{PYTHON_IMAGE}} AS base\n")
    compose.write_text(
        f"services:\n  redis:\n    image: {service}\n  ours:\n    image: localhost/nnpm/registry:${{VERSION}}\n"
    )
    return dockerfile, compose


def _pin(root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "pin-images", "--root", root, *options],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_tags_get_the_digests_of_now_and_old_digests_are_replaced(registry: str, tmp_path: Path) -> None:
    tag = f"{registry}/library/python:3.11"
    dockerfile, compose = _clone(tmp_path, tag, f"{tag}@{OLD}")
    before = dockerfile.read_text(), compose.read_text()
    assert _pin(tmp_path).returncode == 0
    assert dockerfile.read_text() == before[0].replace(tag, f"{tag}@{DIGEST}")
    assert compose.read_text() == before[1].replace(OLD, DIGEST)


def test_check_writes_nothing_and_tells_by_its_exit_code(registry: str, tmp_path: Path) -> None:
    tag = f"{registry}/library/python:3.11"
    dockerfile, _ = _clone(tmp_path, tag, f"{tag}@{DIGEST}")
    before = dockerfile.read_text()
    assert _pin(tmp_path, "--check").returncode == 1
    assert dockerfile.read_text() == before
    assert _pin(tmp_path).returncode == 0
    assert _pin(tmp_path, "--check").returncode == 0


def test_an_image_that_its_registry_does_not_know_is_named_and_nothing_is_written(
    registry: str, tmp_path: Path
) -> None:
    dockerfile, _ = _clone(tmp_path, f"{registry}/library/python:9.9", f"{registry}/library/python:3.11")
    before = dockerfile.read_text()
    done = _pin(tmp_path)
    assert done.returncode == 1
    assert "python:9.9" in done.stderr
    assert dockerfile.read_text() == before
