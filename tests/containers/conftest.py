"""One mesh of containers for the whole suite: images built once, every promise shown on it."""

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import models
from support.containers import images, stand_ins
from support.containers.composed import Composed
from support.containers.images import Built
from support.containers.podman import unavailable
from support.containers.trickle import Published, Trickle
from support.otlp_receiver import OtlpReceiver
from support.reference import Reference

PACKAGE = "test/linear"
_FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was measured."""
    if figures := config.stash[_FIGURES]:
        terminalreporter.section("containers")
        for figure in figures:
            terminalreporter.line(figure)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the end of the run."""
    return pytestconfig.stash[_FIGURES]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean clone of the repository as it is; where containers cannot be run, the suite says so and ends here."""
    reason = unavailable() or stand_ins.no_container_starts()
    if reason:
        pytest.skip(reason)
    return images.copy_tree(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="session")
def built(tree: Path) -> dict[str, Built]:
    """nnpm's images, of the version that the tree has."""
    images.provide_bases(tree)
    return images.build(tree, images.version_of(tree))


@pytest.fixture(scope="session")
def receiver() -> Iterator[OtlpReceiver]:
    """Where traces go: on the host, outside every container."""
    with OtlpReceiver(host="0.0.0.0") as receiver:
        yield receiver


@pytest.fixture(scope="session")
def mesh(tree: Path, built: dict[str, Built], receiver: OtlpReceiver, figures: list[str]) -> Iterator[Composed]:
    """The compose file's mesh, healthy; gone at the end, with its volumes."""
    subprocess.run([sys.executable, tree / "scripts/compose-secrets"], cwd=tree, check=True, timeout=60)
    settings = {
        "NNPM_OTLP_ENDPOINT": f"http://host.containers.internal:{receiver.port}",
        "NNPM_TRACE_SAMPLE_RATIO": "0",
    }
    mesh = Composed(tree, f"nnpm-test-{secrets.token_hex(3)}", images.version_of(tree), settings)
    try:
        begin = time.monotonic()
        mesh.up()
        mesh.wait_healthy()
        figures.append(f"compose up until every container is healthy: {time.monotonic() - begin:.1f} s")
        yield mesh
    finally:
        mesh.remove()


@pytest.fixture(scope="session")
def published(mesh: Composed, tmp_path_factory: pytest.TempPathFactory, figures: list[str]) -> Published:
    """A package published, deployed and answering: from the host, through the ports that compose publishes."""
    begin = time.monotonic()
    model = models.save(models.linear(), tmp_path_factory.mktemp("model"))
    mesh.nnpm("publish", str(model), "--name", PACKAGE, "--version", "1.0.0", "--license", "Apache-2.0")
    mesh.nnpm("deploy", PACKAGE, "--wait")
    published = Published(PACKAGE, model, Reference(model))
    with Trickle(mesh.scheduler, published, threads=1) as trickle:
        trickle.wait_for_successes(1, 30)
    figures.append(f"publish, deploy and the first answer after that: {time.monotonic() - begin:.1f} s")
    return published
