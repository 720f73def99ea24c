"""The four ports of a mesh, and who has one of them when it is taken."""

import contextlib
import errno
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnpm.errors import FailedPrecondition, InvalidArgument

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the services of a mesh listen, on loopback."""

    data: int = 8001
    registry: int = 8101
    artifact: int = 8102
    control: int = 8103

    @classmethod
    def from_base(cls, base: int | None) -> "Ports":
        """The ports P, P+1, P+2, P+3; the defaults without a base; four free ones in a row for 0.

        Raises:
            InvalidArgument: INVALID_SETTINGS when a port would lie outside 1..65535.
        """
        if base is None:
            return cls()
        if base == 0:
            base = _free_base()
        if not 1 <= base <= 65532:
            raise InvalidArgument(
                "INVALID_SETTINGS", f"--port-base must lie between 1 and 65532 (or be 0 for free ports), not {base}"
            )
        return cls(base, base + 1, base + 2, base + 3)

    def all(self) -> tuple[int, int, int, int]:
        return (self.data, self.registry, self.artifact, self.control)


def require_free(ports: Sequence[int], patience: float = 0.0) -> None:
    """Check that nobody listens on `ports`, waiting up to `patience` seconds for one that is being given up.

    Raises:
        FailedPrecondition: PORT_TAKEN naming the port and, where the system tells, the process.
    """
    until = time.monotonic() + patience
    for port in ports:
        while not _is_free(port):
            if time.monotonic() >= until:
                raise _taken(port)
            time.sleep(0.05)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def _taken(port: int) -> FailedPrecondition:
    owner = listener_of(port)
    by = f" by {owner}" if owner else ""
    return FailedPrecondition(
        "PORT_TAKEN",
        f"port {port} on {HOST} is taken{by}",
        hint="choose other ports with --port-base P (a mesh uses P to P+3)",
        metadata={"port": str(port), "process": owner},
    )


def listener_of(port: int) -> str:
    """The process that listens on `port`, as `name (pid N)`; "" when the system doesn't tell."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & set(_open_files(process)):
            return f"{(process / 'comm').read_text(encoding='utf-8').strip()} (pid {process.name})"
    return ""


def _open_files(process: Path) -> Iterator[str]:
    """What the descriptors of a process under /proc point to, as far as this user may know."""
    try:
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since
                yield str(descriptor.readlink())
    except OSError:  # another user's, or gone since
        return


def _listening_inodes(port: int) -> set[str]:
    """The sockets in state LISTEN (0A) on `port`, as /proc/PID/fd shows them. See proc(5), /proc/net/tcp."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _free_base() -> int:
    """Four free ports in a row. The system names a free one; its neighbours are tried."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((HOST, 0))
            base = int(probe.getsockname()[1])
        if base <= 65532 and all(_is_free(port) for port in range(base, base + 4)):
            return base
    raise FailedPrecondition(
        "PORT_TAKEN", "no four free ports in a row were found", hint="name a port with --port-base P"
    )
