"""Networks of the kernel's own: every process in a network namespace, with a cable to each switch that it needs.

The program itself stands in a namespace with the switches (bridges), so that nothing of this is seen outside, and all
of it is gone when the program is. Root may make these; others may where the kernel lets them have user namespaces.
Cut, a cable is pulled from its switch. Slow, packets are delayed at both of its ends (netem), or pass through a narrow
place (tbf) where the kernel has no netem.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chaos.network import NetworkError, Switch
from nnpm.mesh.child import GUARD

INSIDE = "NNPM_CHAOS_INSIDE"
"""The environment variable that says that this process stands in a network namespace of its own."""
SWITCHES: Mapping[Switch, int] = {"queue": 1, "mesh": 2, "front": 3}
_NET = "10.88"
_FIRST_HOST = 2
_MOST_MEMBERS = 250
_OPEN_SECONDS = 20.0
_NARROW_BYTES = 16 * 1024
"""What takes as long through a narrow place as a packet is to be delayed."""
_TRIAL = "ip link add trial type bridge && ip link add one type veth peer name other"

Way = Literal["netem", "tbf", ""]


def entered() -> bool:
    """Whether this process came through `enter`."""
    return INSIDE in os.environ


def enter() -> str:
    """Become this program again, in a network namespace of its own; returns only if that cannot be, with the reason."""
    if entered():
        return ""
    if missing := [tool for tool in ("unshare", "nsenter", "ip", "tc") if shutil.which(tool) is None]:
        return f"there is no {missing[0]} here"
    for rights in ([], ["--user", "--map-root-user"]):
        unshare = ["unshare", *rights, "--net", "--"]
        tried = subprocess.run([*unshare, "sh", "-c", _TRIAL], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            # gRPC would ask a proxy of the outer network for the way to other hosts than this one.
            kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
            os.execvpe(unshare[0], [*unshare, sys.executable, *sys.argv], kept | {INSIDE: "1"})  # noqa: S606
    return f"network namespaces are not allowed here: {tried.stderr.strip()}"


@dataclass(frozen=True, slots=True)
class Place:
    """Of one process: the process that holds its namespace open, and its number on every switch."""

    holder: subprocess.Popen[bytes]
    number: int

    @property
    def inside(self) -> tuple[str, ...]:
        """The command that starts another one there."""
        return ("nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--")


class Cable:
    """From one process to a switch."""

    def __init__(self, address: str, member: str, switch: Switch, place: Place, way: Way) -> None:
        self.address = address
        self._near = _port(switch, member)
        self._switch = switch
        self._place = place
        self._way = way

    async def cut(self) -> None:
        """Pull it out of the switch."""
        await asyncio.to_thread(_run, "ip", "link", "set", self._near, "nomaster")

    async def slow(self, seconds: float) -> None:
        """Hold up what goes through it, at both ends."""
        if self._way:
            await self._shape("replace", *_how(self._way, seconds))

    async def heal(self, *, broken: bool = False) -> None:
        """Plug it in again. Connections live on also where they were to be `broken`: what was lost is sent again."""
        del broken
        await asyncio.to_thread(_run, "ip", "link", "set", self._near, "master", self._switch)
        if self._way:
            await self._shape("del", check=False)

    async def _shape(self, *words: str, check: bool = True) -> None:
        verb, *how = words
        here = ("tc", "qdisc", verb, "dev", self._near, "root", *how)
        there = (*self._place.inside, "tc", "qdisc", verb, "dev", self._switch, "root", *how)
        await asyncio.to_thread(_run, *here, check=check)
        await asyncio.to_thread(_run, *there, check=check)


class Namespaces:
    """The switches, and a namespace for each process. Works only in a process that came through `enter`."""

    def __init__(self) -> None:
        self.variables = {"NNPM_INSECURE": "true"}
        self._places: dict[str, Place] = {}
        self._way: Way = ""

    @property
    def kind(self) -> str:
        """Says how slow ones are made."""
        how = {
            "netem": "slow ones by netem",
            "tbf": "slow ones by narrow places (tbf), as the kernel has no netem",
            "": "none is slowed, as the kernel has neither netem nor tbf",
        }
        return f"network namespaces; {how[self._way]}"

    @property
    def can_slow(self) -> bool:
        """Whether the kernel can."""
        return bool(self._way)

    async def open(self, members: Sequence[str]) -> None:
        """Switches, namespaces, cables. Raises NetworkError."""
        if len(members) > _MOST_MEMBERS:
            raise NetworkError(f"{_MOST_MEMBERS} processes at most have a place on a switch")
        _batch((), _switches())
        for number, member in enumerate(members, _FIRST_HOST):
            place = self._places[member] = Place(_hold(), number)
            await _until_apart(place.holder.pid)
            switches = _switches_of(member)
            _batch((), _cables(member, place.holder.pid, switches))
            _batch(place.inside, _addresses(number, switches))
        self._way = _way(_port("queue", members[0]))

    async def close(self) -> None:
        """Take cables and switches away, so that others of these names can follow at once, and end the namespaces."""
        ports = [_port(switch, member) for member in self._places for switch in _switches_of(member)]
        for name in (*ports, *SWITCHES):
            _run("ip", "link", "del", name, check=False)
        for place in self._places.values():
            place.holder.kill()
            place.holder.wait(10)

    def inside(self, member: str) -> tuple[str, ...]:
        """A member's namespace."""
        return self._places[member].inside

    def host(self, member: str, switch: Switch) -> str:
        """On a switch."""
        return _host(switch, self._places[member].number)

    async def to_redis(self, member: str, port: int) -> Cable:
        """The member's cable to the queue's switch."""
        return self._cable(f"{self.host('redis', 'queue')}:{port}", member, "queue")

    def to_schedulers(self, worker: str) -> Cable:
        """The worker's cable to the mesh's switch."""
        return self._cable("", worker, "mesh")

    async def to_mesh(self, scheduler: str, port: int) -> Cable:
        """The scheduler's cable to the mesh's switch."""
        return self._cable(f"{self.host(scheduler, 'mesh')}:{port}", scheduler, "mesh")

    def _cable(self, address: str, member: str, switch: Switch) -> Cable:
        return Cable(address, member, switch, self._places[member], self._way)


def _switches_of(member: str) -> tuple[Switch, ...]:
    match member.partition("-")[0]:
        case "redis":
            return ("queue",)
        case "registry" | "artifact":
            return ("front",)
        case _:
            return ("queue", "mesh", "front")


def _switches() -> Iterator[str]:
    yield "link set lo up"
    for switch in SWITCHES:
        yield f"link add {switch} type bridge"
        yield f"addr add {_host(switch, 1)}/24 dev {switch}"
        yield f"link set {switch} up"


def _cables(member: str, holder: int, switches: Sequence[Switch]) -> Iterator[str]:
    for switch in switches:
        near = _port(switch, member)
        yield f"link add {near} type veth peer name {switch} netns {holder}"
        yield f"link set {near} master {switch} up"


def _addresses(number: int, switches: Sequence[Switch]) -> Iterator[str]:
    yield "link set lo up"
    for switch in switches:
        yield f"addr add {_host(switch, number)}/24 dev {switch}"
        yield f"link set {switch} up"


def _host(switch: Switch, number: int) -> str:
    return f"{_NET}.{SWITCHES[switch]}.{number}"


def _port(switch: Switch, member: str) -> str:
    """A cable's end at the switch; names of interfaces have 15 characters at most."""
    return f"{switch[0]}-{member}"


def _how(way: Way, seconds: float) -> tuple[str, ...]:
    if way == "netem":
        return ("netem", "delay", f"{seconds * 1000:.0f}ms", f"{seconds * 100:.0f}ms", "limit", "10000")
    rate = max(1, round(_NARROW_BYTES * 8 / seconds / 1000))
    return ("tbf", "rate", f"{rate}kbit", "burst", "1600", "latency", "2000ms")


def _way(port: str) -> Way:
    """What this kernel has for slow networks."""
    ways: tuple[Way, ...] = ("netem", "tbf")
    for way in ways:
        if _run("tc", "qdisc", "add", "dev", port, "root", *_how(way, 0.01), check=False):
            _run("tc", "qdisc", "del", "dev", port, "root")
            return way
    return ""


def _hold() -> subprocess.Popen[bytes]:
    """A process that holds a namespace open as long as this one lives."""
    guarded = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), "--"]
    return subprocess.Popen([*guarded, "unshare", "--net", "--", "sleep", "infinity"], stdin=subprocess.DEVNULL)


async def _until_apart(pid: int) -> None:
    """Until a process is in another namespace than this one. Raises NetworkError."""
    until = time.monotonic() + _OPEN_SECONDS
    while _namespace(pid) == _namespace(os.getpid()):
        if time.monotonic() > until:
            raise NetworkError("a network namespace was not made in time")
        await asyncio.sleep(0.01)


def _namespace(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/net").readlink()


def _batch(inside: Sequence[str], lines: Iterator[str]) -> None:
    _run(*inside, "ip", "-batch", "-", text="\n".join(lines))


def _run(*command: str, text: str = "", check: bool = True) -> bool:
    """Whether it succeeded. Raises NetworkError unless told not to `check`."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise NetworkError(f"`{' '.join(command)}` says: {done.stderr.strip()}")
    return done.returncode == 0
