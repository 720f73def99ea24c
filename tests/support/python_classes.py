"""What a worker's runtime `python` needs of a package: a manifest, and files that must not change."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnpm.package.manifest import Manifest
from nnpm_worker.runtime import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))


@dataclass
class Files:
    """A package's folder; the file that must not change."""

    folder: Path
    digest: bytes

    def check_unchanged(self) -> None:
        assert hashlib.sha256((self.folder / "model.py").read_bytes()).digest() == self.digest


def manifest(name: str = "acme/tiny", entry: str | None = "model:Model") -> Manifest:
    fields: dict[str, Any] = {"name": name, "version": "1.0.0", "license": "MIT", "runtime": "python"}
    files = [{"path": "model.py", "size": 1, "digest": f"sha256:{'0' * 64}"}]
    return Manifest.build({**fields, "model": "model.py", "entry": entry, "files": files})
