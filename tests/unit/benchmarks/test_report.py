"""The tables say who won, who lost, and by how much; the pictures can be drawn from the same."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.points import ALIKE, MIXED, Point
from benchmarks.report import as_json, as_markdown
from benchmarks.sample import GENERATOR, Measured


def _measured(rate: float, split: dict[str, float] | None = None) -> Measured:
    cpu = {"scheduler": 2.5, "worker": 4.0, GENERATOR: 3.0}
    return Measured(3, rate, rate * 0.9, rate * 1.1, 1.25, 1.0, 4.0, cpu, split or {})


SPLIT = {"queue": 90.0, "compute_input": 5.0, "compute_infer": 20.0, "compute_output": 5.0, "other": 0.0}
RESULTS = {
    Point("mid", 1): {"nnpm": _measured(200.0, SPLIT), "in-process": _measured(250.0), "Rival": _measured(210.0)},
    Point("mid", 64): {"nnpm": _measured(2400.0, SPLIT), "in-process": _measured(2500.0), "Rival": _measured(2000.0)},
    Point("tiny", 64, ALIKE): {"nnpm": _measured(1000.0)},
    Point("tiny", 64, MIXED): {"nnpm": _measured(930.0)},
}


def _report() -> dict[str, Any]:
    return as_json({"when": "now"}, (), RESULTS, {"rounds": 3})


def test_shares_of_the_limit_and_the_lost_point_are_told() -> None:
    text = as_markdown(_report())
    assert "| nnpm | 80.0 | 96.0 |" in text
    assert "- mid, 1 in flight: Rival makes 210 a second, nnpm 200 (95 %)" in text
    assert "mid, 64 in flight: Rival" not in text
    assert "- nnpm, tiny, 64 in flight: 93 %" in text


def test_the_generator_is_shown_but_not_counted_as_the_servers() -> None:
    text = as_markdown(_report())
    assert "| nnpm | 6.5 | 6.5 |" in text
    assert "| nnpm: generator | 3 | 3 |" in text


def test_the_json_comes_back_from_a_file_and_draws_every_picture(tmp_path: Path) -> None:
    report = json.loads(json.dumps(_report()))
    assert as_markdown(report) == as_markdown(_report())
    assert report["points"][0]["results"]["nnpm"] == asdict(RESULTS[Point("mid", 1)]["nnpm"])
    names = {path.name for path in plots.draw(report, tmp_path)}
    assert {"mid-concurrency.svg", "mid-cpu.svg", "mid-split.svg"} <= names
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)
