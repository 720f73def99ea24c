"""Whose code may run: nobody's, unless it is named."""

from typing import Any

import pytest

from nnpm.errors import NnpmError
from nnpm.package.manifest import Manifest
from nnpm_worker.grants import Grants
from nnpm_worker.settings import WorkerSettings


def manifest(name: str, version: str = "1.0.0") -> Manifest:
    fields: dict[str, Any] = {"name": name, "version": version, "license": "MIT", "model": "m.py"}
    return Manifest.build({**fields, "files": [{"path": "m.py", "size": 1, "digest": f"sha256:{'0' * 64}"}]})


@pytest.mark.parametrize(
    ("text", "name", "allowed"),
    [
        ("", "acme/tiny", False),
        ("acme/tiny", "acme/tiny", True),
        ("acme/tiny", "acme/tiny2", False),
        ("acme/tiny", "acme/tiny/more", False),
        ("acme/*", "acme/tiny", True),
        ("acme/*", "acme/vision/tiny", True),
        ("acme/*", "acme2/tiny", False),
        ("acme/vision/*", "acme/tiny", False),
        ("other/x, acme/vision/*,", "acme/vision/tiny", True),
    ],
)
def test_a_grant_covers_what_it_names_and_no_more(text: str, name: str, allowed: bool) -> None:
    assert Grants.parse(text).allow(manifest(name)) is allowed


def test_a_digest_grants_one_version() -> None:
    grants = Grants.parse(manifest("acme/tiny").digest())
    assert grants.allow(manifest("acme/tiny"))
    assert not grants.allow(manifest("acme/tiny", "1.0.1"))


@pytest.mark.parametrize("text", ["*", "/*", "acme", "acme/**", "Acme/*", "acme/tiny@1", "sha256:12", "acme/ti*"])
def test_a_grant_that_names_nothing_is_refused_when_the_worker_starts(text: str) -> None:
    with pytest.raises(NnpmError):
        Grants.parse(text)
    with pytest.raises(NnpmError) as refused:
        WorkerSettings.load([f"--worker-python-grants={text}"])
    assert refused.value.reason == "INVALID_SETTINGS"
    assert "NNPM_WORKER_PYTHON_GRANTS" in refused.value.message


def test_nothing_is_granted_by_default() -> None:
    assert not WorkerSettings.load([]).runtime_options.code.grants.allow(manifest("acme/tiny"))


def test_a_class_is_ended_before_the_worker_that_waits_for_it_would_be() -> None:
    with pytest.raises(NnpmError) as refused:
        WorkerSettings.load(
            ["--worker-run-seconds=20", "--worker-python-run-seconds=20", "--worker-python-grants=acme/*"]
        )
    assert "NNPM_WORKER_PYTHON_RUN_SECONDS" in refused.value.message
    assert WorkerSettings.load(["--worker-run-seconds=1"]).worker_run_seconds == 1, (
        "where no class runs, nothing is asked"
    )
