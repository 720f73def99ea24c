"""Pictures of a report: figures against concurrency, processor time by process, where one request's time goes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.oip import PARTS
from benchmarks.sample import GENERATOR

Points = Sequence[Mapping[str, Any]]


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the pictures of every case; returns their paths. Takes what `report.as_json` gives."""
    mpl.use("svg")
    drawn = []
    for case in dict.fromkeys(point["case"] for point in report["points"]):
        points = [point for point in report["points"] if point["case"] == case]
        for kind, figure in (
            ("concurrency", _against_concurrency(case, points)),
            ("cpu", _processor_time(case, points)),
            ("split", _where_time_goes(case, points)),
        ):
            if figure is not None:
                path = folder / f"{case}-{kind}.svg"
                figure.savefig(path, bbox_inches="tight")
                drawn.append(path)
    return drawn


def _against_concurrency(case: str, points: Points) -> Figure | None:
    """Throughput, and p50 and p99, against the number in flight."""
    if len(points) < 2:
        return None
    figure = Figure(figsize=(11, 4))
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(_names(points)):
        found = [(point["in_flight"], point["results"][name]) for point in points if name in point["results"]]
        x, colour = [in_flight for in_flight, _ in found], f"C{number}"
        left.plot(x, [each["per_second"] for _, each in found], "o-", color=colour, label=name)
        right.plot(x, [each["p50"] for _, each in found], "o-", color=colour)
        right.plot(x, [each["p99"] for _, each in found], "o--", color=colour)
    for axes, title in ((left, f"{case}: requests a second"), (right, "p50 (solid) and p99 (dashed), ms")):
        axes.set(title=title, xlabel="in flight", xscale="log", yscale="log")
        axes.grid(visible=True, alpha=0.3)
    left.legend(fontsize="small")
    return figure


def _processor_time(case: str, points: Points) -> Figure:
    """CPU of each process at the highest concurrency, the generator left out."""
    last = max(points, key=lambda point: int(point["in_flight"]))
    rows = {
        name: {process: value for process, value in found["cpu"].items() if process != GENERATOR}
        for name, found in last["results"].items()
    }
    title = f"{case}, {last['in_flight']} in flight: CPU in ms per 1,000 requests"
    return _stacked(title, rows)


def _where_time_goes(case: str, points: Points) -> Figure | None:
    """The mean latency of a call at the lowest concurrency, by the server's own statistics."""
    first = min(points, key=lambda point: int(point["in_flight"]))
    rows = {}
    for name, found in first["results"].items():
        if found["split"]:
            inside = {part: found["split"][part] for part in PARTS} | {"other in the server": found["split"]["other"]}
            outside = max(0.0, found["mean"] * 1e3 - sum(inside.values()))
            rows[name] = {"network, client": outside, **inside}
    if not rows:
        return None
    return _stacked(f"{case}, {first['in_flight']} in flight: where the time of one request goes, us", rows)


def _stacked(title: str, rows: Mapping[str, Mapping[str, float]]) -> Figure:
    figure = Figure(figsize=(9, 1.2 + 0.5 * len(rows)))
    axes: Axes = figure.subplots()
    names = list(rows)[::-1]
    left = dict.fromkeys(names, 0.0)
    for part in dict.fromkeys(part for row in rows.values() for part in row):
        widths = [rows[name].get(part, 0.0) for name in names]
        axes.barh(names, widths, left=[left[name] for name in names], label=part)
        left = {name: left[name] + width for name, width in zip(names, widths, strict=True)}
    axes.set_title(title)
    axes.legend(fontsize="small", bbox_to_anchor=(1.0, 1.0))
    axes.grid(visible=True, axis="x", alpha=0.3)
    return figure


def _names(points: Points) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point["results"]))
