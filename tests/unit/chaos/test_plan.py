"""Faults are drawn from a seed, come in every kind, and leave enough of the mesh whole."""

import pytest

from chaos.plan import KINDS, NAMES, RECOVERY, draw

SEEDS = range(1, 40)


def test_a_seed_draws_the_same_faults_again() -> None:
    assert draw(7, 60.0, schedulers=3, workers=8) == draw(7, 60.0, schedulers=3, workers=8)
    assert draw(7, 60.0, schedulers=3, workers=8) != draw(8, 60.0, schedulers=3, workers=8)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_minute_has_every_kind_of_fault(seed: int) -> None:
    assert {fault.kind for fault in draw(seed, 54.0, schedulers=3, workers=8)} == set(NAMES)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fault_befalls_what_it_is_for_and_nothing_twice_at_once(seed: int) -> None:
    kinds = {kind.name: kind for kind in KINDS}
    last_end: dict[str, float] = {}
    for fault in draw(seed, 60.0, schedulers=3, workers=8):
        assert fault.target.partition("-")[0] == kinds[fault.kind].of
        assert fault.at >= last_end.get(fault.target, 0.0)
        last_end[fault.target] = fault.at + fault.seconds


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("schedulers", "workers"), [(2, 4), (3, 8)])
def test_one_scheduler_and_half_of_the_workers_are_left_whole(seed: int, schedulers: int, workers: int) -> None:
    faults = draw(seed, 60.0, schedulers=schedulers, workers=workers)
    for fault in faults:
        ailing = {other.target for other in faults if other.at <= fault.at < other.at + other.seconds + RECOVERY - 0.01}
        assert sum(name.startswith("scheduler") for name in ailing) < schedulers
        assert sum(name.startswith("worker") for name in ailing) <= workers // 2


def test_only_the_kinds_that_are_asked_for_are_drawn() -> None:
    kinds = ("kill-worker", "flush-redis")
    assert {fault.kind for fault in draw(1, 30.0, schedulers=2, workers=4, kinds=kinds)} == set(kinds)
