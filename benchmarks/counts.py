"""A reading of a server's own statistics."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server has counted for a model since it started.

    Attributes:
        successes: answered calls.
        total_ns: nanoseconds that these took in all; 0 where the server does not say.
        parts_ns: the same by what they went to; empty where the server does not say.
    """

    successes: int
    total_ns: int = 0
    parts_ns: Mapping[str, int] = field(default_factory=dict)

    def split_since(self, before: "Counts") -> dict[str, float]:
        """Microseconds of a call since `before`, by what they went to; the parts and `other` make the whole."""
        if not self.parts_ns:
            return {}
        calls = max(1, self.successes - before.successes)
        parts = {name: (value - before.parts_ns.get(name, 0)) / calls / 1e3 for name, value in self.parts_ns.items()}
        whole = (self.total_ns - before.total_ns) / calls / 1e3
        return parts | {"other": max(0.0, whole - sum(parts.values()))}
