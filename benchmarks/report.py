"""The results as text for people, and as JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.contestant import Contestant
from benchmarks.points import ALIKE, MIXED
from benchmarks.run import Results

OURS = "nnpm"
LIMIT = "in-process"


def as_json(
    facts: Mapping[str, str], contestants: Sequence[Contestant], results: Results, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "facts": dict(facts),
        "run": dict(settings),
        "contestants": {contestant.name: contestant.settings for contestant in contestants},
        "points": [
            {**asdict(point), "case": point.case, "results": {name: asdict(found) for name, found in row.items()}}
            for point, row in results.items()
        ],
    }


def as_markdown(report: Mapping[str, Any]) -> str:
    """The tables. Takes what `as_json` gives, so that an old result can be shown again."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield "# Benchmark"
    yield ""
    yield from (f"- {name}: {value}" for name, value in {**report["facts"], **report["run"]}.items())
    yield ""
    yield "| | backend and settings |"
    yield "|---|---|"
    yield from (f"| {name} | {settings} |" for name, settings in report["contestants"].items())
    for case in dict.fromkeys(point["case"] for point in report["points"]):
        points = [point for point in report["points"] if point["case"] == case]
        yield ""
        yield f"## {case}"
        yield from _table("requests a second (mean latency in ms)", points, _rate)
        if any(LIMIT in point["results"] for point in points):
            yield from _table(f"per cent of {LIMIT}", points, _share_of_limit)
        yield from _table(
            "p50 / p99 in ms", points, lambda row, name: f"{row[name]['p50']:.3g} / {row[name]['p99']:.3g}"
        )
        yield from _table("slowest to fastest round, per cent of the median", points, _spread)
        yield from _table("CPU in ms per 1,000 requests, all of the server's processes", points, _cpu)
        yield from _processes(points)
    yield from _variety(report["points"])
    yield from _lost(report["points"])


def _table(title: str, points: Sequence[Mapping[str, Any]], cell: Any) -> Iterator[str]:
    names = dict.fromkeys(name for point in points for name in point["results"])
    yield ""
    yield f"| {title} | {' | '.join(str(point['in_flight']) for point in points)} |"
    yield f"|---|{'---|' * len(points)}"
    for name in names:
        cells = (cell(point["results"], name) if name in point["results"] else "" for point in points)
        yield f"| {name} | {' | '.join(cells)} |"


def _rate(row: Mapping[str, Any], name: str) -> str:
    return f"{_short(row[name]['per_second'])} ({row[name]['mean']:.3g})"


def _share_of_limit(row: Mapping[str, Any], name: str) -> str:
    return f"{100 * row[name]['per_second'] / row[LIMIT]['per_second']:.1f}" if LIMIT in row else ""


def _spread(row: Mapping[str, Any], name: str) -> str:
    middle = row[name]["per_second"]
    return f"{100 * row[name]['low'] / middle:.0f} to {100 * row[name]['high'] / middle:.0f}"


def _cpu(row: Mapping[str, Any], name: str) -> str:
    return f"{sum(value for process, value in row[name]['cpu'].items() if process != 'generator'):.3g}"


def _processes(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The same by process."""
    yield ""
    yield f"| CPU by process | {' | '.join(str(point['in_flight']) for point in points)} |"
    yield f"|---|{'---|' * len(points)}"
    rows = dict.fromkeys(
        (name, process) for point in points for name, found in point["results"].items() for process in found["cpu"]
    )
    for name, process in rows:
        cells = [point["results"].get(name, {"cpu": {}})["cpu"].get(process) for point in points]
        if any(value is not None and value >= 0.005 for value in cells):
            shown = ("" if value is None else f"{value:.3g}" for value in cells)
            yield f"| {name}: {process} | {' | '.join(shown)} |"


def _variety(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Requests that differ beside requests that do not, both from the same generator."""
    rates = {
        (point["bodies"], point["model"], point["in_flight"], name): found["per_second"]
        for point in points
        for name, found in point["results"].items()
    }
    rows = [
        f"- {name}, {model}, {in_flight} in flight: {100 * rate / rates[ALIKE, model, in_flight, name]:.0f} %"
        for (bodies, model, in_flight, name), rate in rates.items()
        if bodies == MIXED and (ALIKE, model, in_flight, name) in rates
    ]
    if rows:
        yield ""
        yield "## Mixed requests (own ids, eight shapes) in per cent of the rate of requests that are all alike"
        yield ""
        yield from rows


def _lost(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every point at which somebody else who serves the same model is faster."""
    yield ""
    yield "## Points that nnpm loses"
    yield ""
    lost = [
        f"- {point['case']}, {point['in_flight']} in flight: {name} makes {_short(found['per_second'])} a second, "
        f"nnpm {_short(point['results'][OURS]['per_second'])} "
        f"({100 * point['results'][OURS]['per_second'] / found['per_second']:.0f} %)"
        for point in points
        if OURS in point["results"]
        for name, found in point["results"].items()
        if not name.startswith(OURS) and name != LIMIT
        if found["per_second"] > point["results"][OURS]["per_second"]
    ]
    yield from lost or ["none"]


def _short(rate: float) -> str:
    return f"{rate / 1e6:.1f}M" if rate >= 1e6 else f"{rate / 1e3:.1f}k" if rate >= 1e4 else f"{rate:,.0f}"
