"""Who of several workers gets a call: ours (workers pull) against what operators know elsewhere, on one trace.

Ours is measured on the mesh. The others are not shipped, and so cannot be: they are simulated, with the same arrivals,
the same run lengths and no costs of their own (a call's way there and back, some 3 ms, is only in what is measured).
Ours is simulated likewise, with the gap between two runs that was measured, so that the simulation can be checked.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

SHORT, LONG, LONG_SHARE = 0.5, 5.5, 0.1
"""Run lengths, in mean runs: nine of ten calls are short."""

GROUP_FULL = 2
"""Calls that a worker has in hand before the next group of workers is used (`priority`)."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call: when it comes, and for how long it runs; seconds."""

    at: float
    run: float


def trace(rate: float, seconds: float, mean_run: float, dice: Random) -> list[Arrival]:
    """Poisson arrivals of short and long runs."""
    arrivals, at = [], 0.0
    while (at := at + dice.expovariate(rate)) < seconds:
        arrivals.append(Arrival(at, mean_run * (LONG if dice.random() < LONG_SHARE else SHORT)))
    return arrivals


def pull(arrivals: Sequence[Arrival], workers: int, gap: float) -> list[float]:
    """One queue; who is free takes the next. Between two runs a worker waits `gap` seconds for its next call."""
    free = [0.0] * workers
    latencies = []
    for arrival in arrivals:
        since = heapq.heappop(free)
        begin = max(arrival.at, since + gap)
        heapq.heappush(free, begin + arrival.run)
        latencies.append(begin + arrival.run - arrival.at)
    return latencies


def _pushed(arrivals: Sequence[Arrival], workers: int, choose: Callable[[list[int], int], int]) -> list[float]:
    """Each worker has a queue of its own; `choose` is told how many calls each has in hand, and the call's number."""
    ends: list[list[float]] = [[] for _ in range(workers)]
    latencies = []
    for number, arrival in enumerate(arrivals):
        for queue in ends:
            while queue and queue[0] <= arrival.at:
                heapq.heappop(queue)
        chosen = ends[choose([len(queue) for queue in ends], number)]
        end = max(arrival.at, max(chosen, default=0.0)) + arrival.run
        heapq.heappush(chosen, end)
        latencies.append(end - arrival.at)
    return latencies


def round_robin(arrivals: Sequence[Arrival], workers: int) -> list[float]:
    """By turns."""
    return _pushed(arrivals, workers, lambda in_hand, number: number % len(in_hand))


def least_loaded(arrivals: Sequence[Arrival], workers: int) -> list[float]:
    """To the one with the fewest calls in hand, as one balancer sees that which sends all calls."""
    return _pushed(arrivals, workers, lambda in_hand, number: min(range(len(in_hand)), key=in_hand.__getitem__))


def priority(arrivals: Sequence[Arrival], workers: int) -> list[float]:
    """To the first worker in a fixed order that is not full, else to the least loaded (as Envoy's and F5's groups)."""

    def choose(in_hand: list[int], number: int) -> int:
        del number
        roomy = (index for index, calls in enumerate(in_hand) if calls < GROUP_FULL)
        return next(roomy, min(range(len(in_hand)), key=in_hand.__getitem__))

    return _pushed(arrivals, workers, choose)


OTHERS: Mapping[str, Callable[[Sequence[Arrival], int], list[float]]] = {
    "round robin": round_robin,
    "least loaded": least_loaded,
    "priority": priority,
}


def compared(arrivals: Sequence[Arrival], workers: int, gap: float) -> dict[str, list[float]]:
    """Latencies by policy, all simulated."""
    return {
        "pull (simulated)": pull(arrivals, workers, gap),
        **{name: policy(arrivals, workers) for name, policy in OTHERS.items()},
    }


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    return {f"p{share:g}": 1e3 * float(np.percentile(latencies, share)) for share in (50, 90, 99)}


def as_table(found: Mapping[str, Sequence[float]]) -> str:
    """Markdown."""
    lines = ["| policy | p50 ms | p90 ms | p99 ms |", "|---|---|---|---|"]
    lines += [
        f"| {name} | " + " | ".join(f"{value:.0f}" for value in percentiles(each).values()) + " |"
        for name, each in found.items()
    ]
    return "\n".join(lines)


def draw(found: Mapping[str, Sequence[float]], title: str) -> Any:
    """A figure: the share of calls that took longer, against time."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- only who draws needs it

    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    for name, latencies in found.items():
        ordered = 1e3 * np.sort(latencies)
        share = 1 - np.arange(len(ordered)) / len(ordered)
        axes.plot(ordered, share, label=name, linewidth=2.5 if "measured" in name else 1.3)
    axes.set(title=title, xlabel="milliseconds", ylabel="share of calls that took longer", yscale="log", ylim=(2e-3, 1))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    return figure
