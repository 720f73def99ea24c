"""Where is measured: which model, how many requests in flight, which bodies, how many copies of the model."""

from collections.abc import Collection
from dataclasses import dataclass

ONE, ALIKE, MIXED = "one", "alike", "mixed"


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One column of a table.

    Attributes:
        in_flight: requests in the air at any moment, on one connection.
        bodies: ONE: h2load sends the same bytes each time. MIXED: our generator gives every request an id of its own
            and one of eight shapes. ALIKE: our generator, all with the same bytes, for comparison with MIXED.
        copies: of the model; two worker processes, two instances.
    """

    model: str
    in_flight: int
    bodies: str = ONE
    copies: int = 1

    @property
    def mixed(self) -> bool:
        return self.bodies == MIXED

    @property
    def case(self) -> str:
        """What `--only` calls it, and what a table is about."""
        name = self.model if self.bodies == ONE else f"{self.model}-{self.bodies}"
        return name if self.copies == 1 else f"{name}-x{self.copies}"


_IN_FLIGHT = {
    "tiny": (1, 4, 16, 64, 256),
    "mid": (1, 7, 16, 64),
    "magika": (1, 7, 16, 64),
    "conv": (1, 4, 16),
    "identity": (1, 4),
}
_QUICK = {"tiny": (1, 64, 256), "mid": (1, 7, 16, 64), "magika": (1, 16), "conv": (4,), "identity": (4,)}


def all_points(*, quick: bool) -> tuple[Point, ...]:
    """Every point of a run, in the order of the tables."""
    chosen = _QUICK if quick else _IN_FLIGHT
    plain = tuple(Point(model, in_flight) for model, points in chosen.items() for in_flight in points)
    varied = tuple(Point("tiny", in_flight, bodies) for bodies in (ALIKE, MIXED) for in_flight in (64, 256))
    return (*plain, *varied, Point("mid", 64, copies=2))


def chosen_points(only: Collection[str], *, quick: bool) -> tuple[Point, ...]:
    """The points of the cases named; all where none is."""
    points = all_points(quick=quick)
    return tuple(point for point in points if not only or point.case in only)


def cases() -> tuple[str, ...]:
    """What `--only` may name."""
    return tuple(dict.fromkeys(point.case for point in all_points(quick=False)))
