"""What is asked of a mesh, and what it has to show: overload, tenants, classes. Durations are for one run."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fairness.balance import compared, percentiles, trace
from fairness.load import Flow, Seen, drive, replay

TENANT, PRIORITY = "nnpm-tenant", "nnpm-priority"
DEADLINE = 1.0
"""Seconds, of every call."""
BALANCED_AT, PATIENT = 0.75, 30.0
"""The load in `balance`, of what can be done; and the deadline of its calls, none of which shall be refused."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A mesh that serves: so many replicas, whose runs take `run` seconds and hold one request."""

    address: str
    replicas: int
    run: float
    seconds: float
    seed: int

    @property
    def capacity(self) -> float:
        """Requests a second, if no replica were ever idle."""
        return self.replicas / self.run

    async def load(self, *flows: Flow, seconds: float = 0.0) -> dict[str, Seen]:
        """These flows, for as long as the run shall be by default."""
        return await drive(self.address, flows, self.run, seconds or self.seconds, Random(self.seed))


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure beside its bound."""

    what: str
    figure: float
    bound: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario has seen: a table of flows, the verdicts, and seconds that calls took by policy."""

    flows: Mapping[str, Seen]
    verdicts: tuple[Verdict, ...]
    policies: Mapping[str, Sequence[float]] = field(default_factory=dict)


def at_most(what: str, figure: float, bound: float) -> Verdict:
    """Holds when the figure is not above the bound."""
    return Verdict(what, figure, f"<= {bound:g}", figure <= bound)


def at_least(what: str, figure: float, bound: float) -> Verdict:
    """Holds when the figure is not below the bound."""
    return Verdict(what, figure, f">= {bound:g}", figure >= bound)


async def overload(rig: Rig) -> Outcome:
    """Three times what the replicas can do; then what they can do easily: when is it as before?"""
    peak = (await rig.load(Flow("1.1x", 1.1 * rig.capacity, DEADLINE), seconds=5.0))["1.1x"]
    seen = (await rig.load(Flow("3x", 3 * rig.capacity, DEADLINE)))["3x"]
    after = (await rig.load(Flow("after", 0.3 * rig.capacity, DEADLINE), seconds=4.0))["after"]
    slow = [end.sent for end in after.ends if end.reason or end.took > 2.5 * rig.run]
    return Outcome(
        {"1.1x": peak, "3x": seen, "after": after},
        (
            at_most("p99 of answered calls, ms", seen.percentile(99), 1e3 * DEADLINE),
            at_least("goodput, per cent of peak", 100 * seen.goodput / peak.goodput, 90),
            at_least("goodput, per cent of replicas / run", 100 * seen.goodput / rig.capacity, 90),
            at_most("recovery, seconds after the load", max(slow, default=0.0), 2),
            at_most("calls that ended without answer or refusal", seen.refused["LOST"], 0),
        ),
    )


async def tenants(rig: Rig) -> Outcome:
    """A small tenant alone, then beside one that sends ten times as much; together more than can be done."""
    rate = 0.12 * rig.capacity
    small = Flow("small", rate, DEADLINE, {TENANT: "small"})
    alone = (await rig.load(small))["small"]
    beside = await rig.load(small, Flow("large", 10 * rate, DEADLINE, {TENANT: "large"}))
    return Outcome(
        {"small alone": alone, "small beside": beside["small"], "large": beside["large"]},
        (
            at_most("small tenant's p99, of what it has alone", _ratio(beside["small"], alone), 1.5),
            at_least("small tenant's answers, per cent", 100 * _served(beside["small"]), 99),
        ),
    )


async def classes(rig: Rig) -> Outcome:
    """A trickle of high priority alone, then under a low class that asks for half as much again as can be done."""
    high = Flow("high", 0.05 * rig.capacity, DEADLINE, {PRIORITY: "high"})
    alone = (await rig.load(high))["high"]
    under = await rig.load(high, Flow("low", 1.5 * rig.capacity, DEADLINE, {PRIORITY: "low"}))
    return Outcome(
        {"high alone": alone, "high under load": under["high"], "low": under["low"]},
        (
            at_most("high class's p99, of what it has alone", _ratio(under["high"], alone), 2),
            at_least("low class's goodput, per cent of replicas / run", 100 * under["low"].goodput / rig.capacity, 50),
        ),
    )


async def balance(rig: Rig) -> Outcome:
    """One trace of short and long runs: on the mesh, and by other policies' simulations."""
    peak = (await rig.load(Flow("peak", 1.5 * rig.capacity, DEADLINE), seconds=5.0))["peak"]
    gap = max(0.0, rig.replicas / peak.goodput - rig.run)
    arrivals = trace(BALANCED_AT * rig.capacity, rig.seconds, rig.run, Random(rig.seed))
    measured = await replay(rig.address, arrivals, PATIENT)
    found = {"pull (nnpm, measured)": measured, **compared(arrivals, rig.replicas, gap)}
    ours = percentiles(measured)["p99"]
    theirs = percentiles(found["round robin"])["p99"]
    return Outcome(
        {"peak": peak},
        (at_most("p99 of pull, of round robin's", ours / theirs, 1),),
        found,
    )


SCENARIOS: Mapping[str, Callable[[Rig], Coroutine[Any, Any, Outcome]]] = {
    "overload": overload,
    "tenants": tenants,
    "classes": classes,
    "balance": balance,
}


def _ratio(one: Seen, other: Seen) -> float:
    return one.percentile(99) / other.percentile(99)


def _served(seen: Seen) -> float:
    return len(seen.answered) / max(1, len(seen.ends))
