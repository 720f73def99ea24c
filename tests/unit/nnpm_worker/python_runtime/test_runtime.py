"""The grant: nothing of a package's code is imported without one."""

from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition, PermissionDenied
from nnpm_worker.grants import Grants
from nnpm_worker.python_runtime.runtime import PythonRuntime
from nnpm_worker.runtime import CodeLimits, PackageRuntime, RuntimeOptions
from support.python_classes import SIGNATURE, Files, manifest


def test_a_package_without_a_grant_is_refused_naming_what_would_grant_it(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise SystemExit('imported')")
    runtime = PythonRuntime(RuntimeOptions(0, "cpu"))
    assert isinstance(runtime, PackageRuntime)
    for ask in (runtime.check, lambda one: runtime.load_package(one, Files(tmp_path, b""), SIGNATURE)):
        with pytest.raises(PermissionDenied) as refused:
            ask(manifest("acme/tiny"))
        assert refused.value.reason == "RUNTIME_NOT_GRANTED"
        assert "NNPM_WORKER_PYTHON_GRANTS=acme/tiny" in refused.value.hint


def test_a_granted_package_without_a_class_is_refused() -> None:
    runtime = PythonRuntime(RuntimeOptions(0, "cpu", CodeLimits(Grants.parse("acme/*"))))
    runtime.check(manifest("acme/tiny"))
    with pytest.raises(FailedPrecondition) as refused:
        runtime.check(manifest("acme/tiny", entry=None))
    assert refused.value.reason == "MODEL_LOAD_FAILED"
