"""How those who wait share a revision: tenants' weights, and how long a class is only passed over."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

AGEING = 1.0
"""Seconds; see `nnpm_scheduler.dispatch.order`."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """Tenants that `weights` does not name weigh 1; `ageing` is in seconds."""

    ageing: float = AGEING
    weights: Mapping[str, float] = field(default_factory=dict)

    def weight_of(self, tenant: str) -> float:
        """A tenant's share is in proportion to it."""
        return self.weights.get(tenant, 1.0)


def read_weights(text: str) -> dict[str, float]:
    """`gold=4,bronze=0.5`. Raises ValueError."""
    weights: dict[str, float] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        tenant, equals, number = item.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not equals or not 0 < weight < math.inf:
            raise ValueError(f"{item!r} is not TENANT=WEIGHT with a weight above 0")
        weights[tenant.strip()] = weight
    return weights
