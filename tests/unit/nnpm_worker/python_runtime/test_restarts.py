"""Back-off between deaths."""

from nnpm_worker.python_runtime.restarts import Restarts


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_death_costs_no_wait_and_each_further_one_twice_as_much_up_to_a_limit() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    waits = []
    for _ in range(13):
        restarts.died()
        waits.append(round(restarts.wait, 3))
        clock.now += restarts.wait
    assert waits == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30]


def test_an_answer_begins_the_count_anew() -> None:
    restarts = Restarts(Clock())
    for _ in range(5):
        restarts.died()
        restarts.worked()
    restarts.died()
    assert restarts.wait == 0
