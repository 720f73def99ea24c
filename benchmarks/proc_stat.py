"""Processor time of processes, as /proc/PID/stat counts it: all threads, in ticks of 10 ms."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
_LISTEN = "0A"
"""The state of a socket in /proc/net/tcp."""


def cpu_seconds(stat: str) -> float:
    """User and system time in a line of /proc/PID/stat; see proc(5). A command's name may hold blanks and brackets."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def parent(stat: str) -> int:
    """The parent's process id in a line of /proc/PID/stat."""
    return int(stat.rpartition(")")[2].split()[1])


def of_groups(groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Seconds by name, each the sum over its processes; one that is gone counts nothing."""
    return {name: sum(cpu_seconds(stat) for pid in pids if (stat := _stat(pid))) for name, pids in groups.items()}


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(parent(stat), []).append(int(entry.name))
    found = [root]
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def by_command(pids: Iterable[int]) -> dict[str, list[int]]:
    """Process ids by the name of their program."""
    named: dict[str, list[int]] = {}
    for pid in pids:
        if stat := _stat(pid):
            named.setdefault(stat[stat.index("(") + 1 : stat.rindex(")")], []).append(pid)
    return named


def listeners(port: int) -> list[int]:
    """The processes that listen on a TCP port of this machine, as far as this user may know."""
    inodes = {
        f"socket:[{fields[9]}]"
        for table in ("net/tcp", "net/tcp6")
        if (PROC / table).exists()
        for line in (PROC / table).read_text(encoding="ascii").splitlines()[1:]
        if (fields := line.split())[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port
    }
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit() and inodes & _open_files(entry)]


def _open_files(process: Path) -> set[str]:
    try:
        return {str(descriptor.readlink()) for descriptor in (process / "fd").iterdir()}
    except OSError:  # another user's, or gone since
        return set()


def machine_seconds() -> float:
    """Processor time that all processes of this machine have had, the idle time left out."""
    fields = (PROC / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) * TICK


def _stat(pid: int) -> str:
    try:
        return (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
