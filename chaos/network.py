"""What lies between the processes of a mesh: networks that can be cut and slow (`proxies.py`, `namespaces.py`)."""

from collections.abc import Sequence
from typing import Literal, Protocol

Switch = Literal["queue", "mesh", "front"]
"""Where processes meet: before Redis, between schedulers and workers, and before those who call."""


class Link(Protocol):
    """A stretch of network, as one process has it before it."""

    @property
    def address(self) -> str:
        """`host:port` for those who use it."""

    async def cut(self) -> None:
        """Nothing passes, and nobody is told: connections stay open."""

    async def slow(self, seconds: float) -> None:
        """Each piece of data takes about so much longer, each way."""

    async def heal(self, *, broken: bool = False) -> None:
        """As before; where connections can be `broken`, they are."""


class Network(Protocol):
    """All of them."""

    @property
    def kind(self) -> str:
        """For people."""

    @property
    def can_slow(self) -> bool:
        """Whether `Link.slow` does something."""

    @property
    def variables(self) -> dict[str, str]:
        """That every process needs in order to listen there."""

    async def open(self, members: Sequence[str]) -> None:
        """For processes of these names. Raises NetworkError."""

    async def close(self) -> None:
        """Take it away."""

    def inside(self, member: str) -> tuple[str, ...]:
        """The command through which a member's own command is started, so that it stands in its place."""

    def host(self, member: str, switch: Switch) -> str:
        """Where a member listens."""

    async def to_redis(self, member: str, port: int) -> Link:
        """Before one member: its way to Redis."""

    def to_schedulers(self, worker: str) -> Link | None:
        """Before one worker: its way to every scheduler; None where there is no such link."""

    async def to_mesh(self, scheduler: str, port: int) -> Link:
        """Before one scheduler: all workers' way to it."""


class NetworkError(Exception):
    """It could not be made; the message says why."""
