"""Totals as ModelStatistics reports them."""

from nnpm_scheduler.dispatch import descriptions
from nnpm_scheduler.dispatch.statistics import BatchFigures, Statistics

FIGURES = BatchFigures(requests=2, rows=5, compute_input_ns=10, compute_infer_ns=100, compute_output_ns=20)


def test_a_batch_is_one_execution_of_so_many_rows_and_each_request_waited_what_was_not_computed() -> None:
    statistics = Statistics().of("r")
    assert statistics.succeeded(1_000, FIGURES) == 870
    assert statistics.succeeded(100, FIGURES) == 0
    statistics.fail.add(7)
    statistics.ran(FIGURES)
    told = descriptions.statistics("m", "1.0.0", statistics)
    assert (told.name, told.version, told.inference_count, told.execution_count) == ("m", "1.0.0", 5, 1)
    assert told.last_inference > 1_700_000_000_000
    stats = told.inference_stats
    assert [(t.count, t.ns) for t in (stats.success, stats.fail, stats.queue)] == [(2, 1_100), (1, 7), (2, 870)]
    assert [t.ns for t in (stats.compute_input, stats.compute_infer, stats.compute_output)] == [20, 200, 40]
    assert [(b.batch_size, b.compute_infer.count, b.compute_infer.ns) for b in told.batch_stats] == [(5, 1, 100)]


def test_revisions_have_totals_of_their_own() -> None:
    statistics = Statistics()
    statistics.of("r").fail.add(1)
    assert (statistics.of("r").fail.count, statistics.of("s").fail.count) == (1, 0)
