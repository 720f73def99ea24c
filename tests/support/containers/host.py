"""What this machine has and says that a build in a container needs: mirrors, certificates, compilers, caches."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from support.tools import go

_PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")


def debian_mirror() -> str:
    """Where this machine gets Debian from; debootstrap's default where it does not say."""
    listing = _output("apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages")
    for line in listing.splitlines():
        address, _, component = line.partition(" ")
        if component == "main" and address.rstrip("/").endswith("/debian"):
            return address
    return ""


def apt_options() -> str:
    """How apt gets through to it: proxies and certificates."""
    dump = _output("apt-config", "dump")
    return "".join(
        f"{line}\n" for line in dump.splitlines() if re.match(r"Acquire::https?::(Proxy|CA)", line, re.IGNORECASE)
    )


def go_root() -> Path:
    return Path(_output(go(), "env", "GOROOT"))


def rust_root() -> Path:
    return Path(_output("rustc", "--print", "sysroot"))


def has_rust() -> bool:
    return shutil.which("rustc") is not None and shutil.which("cargo") is not None


def build_mounts(scratch: Path) -> list[str]:
    """Arguments of `podman build`: this machine's package indexes and Go's caches; nothing stays in an image."""
    mounts = [(_pip_settings(scratch), "/etc/pip.conf:ro")]
    cargo = Path.home() / ".cargo" / "config.toml"
    if cargo.exists():
        mounts.append((cargo, "/usr/local/cargo/config.toml:ro"))
    modules, objects, proxy, sums = _output(go(), "env", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB").split("\n")
    settings = scratch / "go.env"
    settings.write_text(f"GOPROXY={proxy}\nGOSUMDB={sums}\n")
    mounts.append((settings, "/root/.config/go/env:ro"))
    for folder, place in ((modules, "/go/pkg/mod"), (objects, "/root/.cache/go-build")):
        Path(folder).mkdir(parents=True, exist_ok=True)
        mounts.append((Path(folder), place))
    return [part for source, place in mounts for part in ("--volume", f"{source}:{place}")]


def _pip_settings(scratch: Path) -> Path:
    """pip.conf as this machine's pip is set, by files or by the environment; certificates are the base image's."""
    found: dict[str, str] = {"cert": "/etc/ssl/certs/ca-certificates.crt"}
    for line in _output(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in _PIP_KEYS:
            found[key] = value.strip("'\"").replace("\\n", "\n  ")
    path = scratch / "pip.conf"
    path.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in found.items()))
    return path


def _output(*command: object) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
