"""Who a call is from and how urgent it is: its tenant and its class, read from metadata. Part of a block's identity."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from nnpm.errors import InvalidArgument
from nnpm_scheduler.dispatch.call import METADATA, PRIORITY, TENANT

MOST_REMEMBERED = 4_096
"""Pairs of values that are kept: clients choose them, so there may be any number."""

LONGEST_TENANT = 128
"""Characters of a tenant's name."""


class Priority(IntEnum):
    """Classes, the most urgent first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """The place that a block takes among those that wait. Calls that name no tenant share the empty one."""

    priority: Priority = Priority.NORMAL
    tenant: str = ""


NOBODYS = Standing()
"""Of calls that say nothing."""

_CLASSES = {priority.name.lower(): priority for priority in Priority} | {"": Priority.NORMAL}


class Standings:
    """Reads standings, and remembers them by the values that they were read from."""

    def __init__(self) -> None:
        self._known: dict[Sequence[str], Standing] = {}

    def of(self, metadata: Sequence[str]) -> Standing:
        """A block's. Raises InvalidArgument INVALID_PRIORITY, INVALID_TENANT."""
        values = metadata[PRIORITY:]
        standing = self._known.get(values)
        if standing is None:
            standing = _read(metadata[PRIORITY], metadata[TENANT])
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[values] = standing
        return standing


def _read(priority: str, tenant: str) -> Standing:
    if priority not in _CLASSES:
        raise InvalidArgument(
            "INVALID_PRIORITY",
            f"there is no priority {priority[:40]!r}",
            hint=f"one of {', '.join(name for name in _CLASSES if name)}; {METADATA[PRIORITY]} is the key by default",
        )
    if len(tenant) > LONGEST_TENANT:
        raise InvalidArgument("INVALID_TENANT", f"a tenant's name has at most {LONGEST_TENANT} characters")
    return Standing(_CLASSES[priority], tenant)
