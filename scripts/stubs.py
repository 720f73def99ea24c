"""Generates the Python stubs in libs/nnpm/api from protos/: the build hook, also `python scripts/stubs.py`.

The hook runs for wheels, sdists and editable installs alike, so that no generated line is committed.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class StubsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's custom hook: generate, then let the build collect libs/nnpm/api as artifacts."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        generate(Path(self.root))


def generate(root: Path) -> None:
    """Write libs/nnpm/api below `root` anew; raises SystemExit when protoc refuses a file."""
    # protos/google is vendored for other languages; Python has it from googleapis-common-protos.
    protos, libs = root / "protos", root / "libs"
    api = libs / "nnpm" / "api"
    shutil.rmtree(api, ignore_errors=True)
    api.mkdir(parents=True)
    _compile(protos, sorted(protos.glob("nnpm/**/*.proto")), libs)
    _compile(protos, sorted(protos.glob("inference/*.proto")), api)
    for module in sorted(api.glob("inference/*.py*")):
        _make_private(module)
    (api / "inference" / "pool.py").write_text(POOL)
    for folder in _folders(api):
        (folder / "__init__.py").touch()
    (api / "__init__.py").write_text('"""Generated from protos/ when nnpm is built; never edited."""\n')


def _compile(protos: Path, sources: list[Path], out: Path) -> None:
    well_known = files("grpc_tools").joinpath("_proto")
    arguments = [
        "protoc",
        f"-I{protos}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *(f"--plugin={name}={_plugin(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
        *map(str, sources),
    ]
    if protoc.main(arguments):
        sys.exit("protoc refused the protos; its message stands above")


def _plugin(name: str) -> str:
    """The path of a protoc plugin of this very environment, whatever PATH says."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        sys.exit(f"{name} is not installed; `pip install mypy-protobuf`")
    return found


def _make_private(module: Path) -> None:
    """Move an Open Inference Protocol stub into a descriptor pool of nnpm's own.

    tritonclient, kserve and others each register their copy of package `inference` in the process-wide pool, and two
    that differ cannot live in one pool.
    """
    text = module.read_text()
    text = text.replace("_descriptor_pool.Default()", "_pool.POOL")
    text = re.sub(r"^from inference import", "from nnpm.api.inference import", text, flags=re.MULTILINE)
    if module.name.endswith("_pb2.py"):
        text = text.replace(
            "from google.protobuf import descriptor_pool as _descriptor_pool",
            "from nnpm.api.inference import pool as _pool",
        )
    module.write_text(text)


def _folders(api: Path) -> Iterator[Path]:
    return (path for path in api.rglob("*") if path.is_dir() and path.name != "__pycache__")


POOL = '''"""The descriptor pool that holds nnpm's copy of the Open Inference Protocol, apart from everyone else's."""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
'''

if __name__ == "__main__":
    generate(Path(__file__).resolve().parent.parent)
