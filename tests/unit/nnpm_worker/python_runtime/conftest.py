"""Classes in processes of their own, as the worker runs them."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nnpm_worker.grants import Grants
from nnpm_worker.python_runtime.model import PythonModel
from nnpm_worker.python_runtime.runtime import PythonRuntime
from nnpm_worker.runtime import CodeLimits, RuntimeOptions, Signature
from support.python_classes import SIGNATURE, Files, manifest


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., PythonModel]]:
    """`load(source, memory_bytes=..., ...)` is a model of the class `Model` in that source; closed in the end."""
    loaded: list[PythonModel] = []

    def load(source: str, signature: Signature = SIGNATURE, **limits: Any) -> PythonModel:
        content = source.encode()
        (tmp_path / "model.py").write_bytes(content)
        code = CodeLimits(grants=Grants.parse("acme/tiny"), **limits)
        runtime = PythonRuntime(RuntimeOptions(1, "cpu", code))
        files = Files(tmp_path, hashlib.sha256(content).digest())
        loaded.append(runtime.load_package(manifest(), files, signature))
        return loaded[-1]

    yield load
    for model in loaded:
        model.close()
