"""Which batches run on the event loop."""

from nnpm.queue.entry import MOST_LAYOUTS, Block, InputSpec, Layout
from nnpm_worker.pace import Pace
from nnpm_worker.requests import Job


def job(rows: int = 1, count: int = 1, *, plain: bool = True) -> Job:
    layout = Layout("m", (InputSpec("x", "FP32", (rows, 4)),), (), 16 * rows) if plain else None
    return Job(Block(1, 2, count, 0, 0, layout, (b"",), b"body"), 0, 0, 0)


def test_nothing_is_short_before_it_was_seen() -> None:
    pace = Pace(steady=True)
    assert not pace.is_short([job()])
    pace.learn([job()], 20e-6)
    assert pace.is_short([job()])
    assert not pace.is_short([job(rows=2)]), "other shapes may take longer"
    assert not pace.is_short([job(), job(rows=2)])


def test_what_takes_long_is_not_short_however_many_are_joined() -> None:
    pace = Pace(steady=True)
    for count, seconds in ((1, 100e-6), (8, 400e-6)):
        pace.learn([job(count=count)], seconds)
    assert pace.is_short([job(count=4)])
    assert not pace.is_short([job(count=32)])
    assert not pace.is_short([job(count=8), job(count=8)])


def test_a_run_that_takes_longer_than_it_did_goes_back_to_the_thread() -> None:
    pace = Pace(steady=True)
    pace.learn([job()], 20e-6)
    for _ in range(100):
        pace.learn([job()], 2e-3)
    assert not pace.is_short([job()])


def test_shapes_that_always_come_together_are_learned_too() -> None:
    pace = Pace(steady=True)
    both = [job(count=3), job(rows=2, count=5)]
    pace.learn(both, 80e-6)
    assert pace.is_short(both)


def test_a_model_whose_runs_depend_on_what_it_is_told_is_never_short() -> None:
    pace = Pace(steady=False)
    pace.learn([job()], 1e-6)
    assert not pace.is_short([job()])


def test_a_request_without_a_layout_is_never_short() -> None:
    pace = Pace(steady=True)
    pace.learn([job(plain=False)], 1e-6)
    assert not pace.is_short([job(plain=False)])


def test_the_shapes_that_are_remembered_are_bounded() -> None:
    pace = Pace(steady=True)
    for rows in range(1, MOST_LAYOUTS + 2):
        pace.learn([job(rows=rows)], 1e-6)
    assert not pace.is_short([job(rows=1)])
    assert pace.is_short([job(rows=MOST_LAYOUTS + 1)])
