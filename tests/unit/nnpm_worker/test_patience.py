"""The wait that is learned, by simulation: closed loops, where who is answered asks again, and open ones."""

import heapq
from collections.abc import Callable, Iterator
from random import Random

import pytest

from nnpm_worker.patience import Costs, Patience

MOST = 64
SECONDS = 3.0


def mid(rows: int) -> float:
    """What a model of some size takes: the first row is dear, the others are cheap."""
    return 0.0036 + 0.0003 * rows


def small(rows: int) -> float:
    return 0.00006 + 0.0000005 * rows


class Worker:
    """One worker before a queue; `patience` None runs whatever is there."""

    def __init__(self, cost: Callable[[int], float], patience: Patience | None, seed: int = 1) -> None:
        self.cost, self.patience, self.random = cost, patience, Random(seed)
        self.events: list[tuple[float, int, str, int]] = []
        self.queue: list[tuple[float, int]] = []
        self.now, self.busy, self.timer = 0.0, False, 0
        self.batches: list[int] = []
        self.latencies: list[float] = []
        self.waited = 0.0

    def at(self, when: float, what: str, number: int = 0) -> None:
        heapq.heappush(self.events, (when, len(self.events) + self.timer, what, number))

    def run(self, seconds: float, answered: Callable[[int], None]) -> None:
        running: list[tuple[float, int]] = []
        while self.events and self.now < seconds:
            self.now, _, what, number = heapq.heappop(self.events)
            if what == "arrive":
                self.queue.append((self.now, number))
                if self.patience:
                    self.patience.returns.arrived(1, self.now)
            elif what == "done":
                self.busy = False
                if self.patience:
                    self.patience.costs.learn(len(running), self.cost(len(running)) * self.random.uniform(0.95, 1.1))
                    self.patience.returns.answered(len(running), self.now)
                for since, client in running:
                    self.latencies.append(self.now - since)
                    answered(client)
            elif number != self.timer:
                continue
            if not self.busy and self.queue:
                wait = self.patience.seconds(len(self.queue), self.queue[0][0], self.now) if self.patience else 0.0
                self.timer += 1
                if wait > 0:
                    self.at(self.now + wait + 1e-6, "timer", self.timer)
                    continue
                running, self.queue = self.queue[:MOST], self.queue[MOST:]
                self.busy = True
                self.waited += max(0.0, self.now - running[-1][0])
                self.batches.append(len(running))
                self.at(self.now + self.cost(len(running)) * self.random.uniform(0.98, 1.05), "done")


def closed(clients: int, cost: Callable[[int], float], patience: Patience | None, travel: float = 0.0005) -> Worker:
    worker = Worker(cost, patience)

    def ask(client: int) -> None:
        worker.at(worker.now + travel * worker.random.uniform(0.6, 1.4), "arrive", client)

    for client in range(clients):
        ask(client)
    worker.run(SECONDS, ask)
    return worker


def open_loop(rate: float, cost: Callable[[int], float], patience: Patience | None) -> Worker:
    worker = Worker(cost, patience)
    when = 0.0
    while when < SECONDS:
        when += worker.random.expovariate(rate)
        worker.at(when, "arrive")
    worker.run(SECONDS, lambda _client: None)
    return worker


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("cost", [mid, small])
def test_with_one_in_flight_it_never_waits(cost: Callable[[int], float]) -> None:
    worker = closed(1, cost, Patience(MOST))
    assert set(worker.batches) == {1}
    assert worker.waited == 0


@pytest.mark.parametrize("clients", [7, 16, 64])
def test_a_closed_loop_comes_to_run_together(clients: int) -> None:
    patient, hasty = closed(clients, mid, Patience(MOST)), closed(clients, mid, None)
    ideal = SECONDS / (mid(clients) + 0.0005 * 1.5) * clients
    assert len(patient.latencies) > 0.93 * ideal
    assert len(patient.latencies) > 1.1 * len(hasty.latencies)
    assert mean(patient.latencies) < mean(hasty.latencies)


@pytest.mark.parametrize("clients", [7, 16, 64, 256])
def test_where_a_run_costs_next_to_nothing_it_does_not_wait_for_others(clients: int) -> None:
    patient, hasty = closed(clients, small, Patience(MOST)), closed(clients, small, None)
    assert len(patient.latencies) > 0.95 * len(hasty.latencies)


@pytest.mark.parametrize("rate", [20.0, 150.0, 500.0, 1000.0])
def test_arrivals_that_hang_on_no_answer_are_not_waited_for_in_vain(rate: float) -> None:
    patient, hasty = open_loop(rate, mid, Patience(MOST)), open_loop(rate, mid, None)
    assert mean(patient.latencies) < 1.1 * mean(hasty.latencies) + 0.0002


def test_a_crowd_that_goes_home_is_not_waited_for() -> None:
    patience = Patience(MOST)
    worker = closed(16, mid, patience)
    worker.events.clear()
    worker.queue.clear()
    worker.busy = False
    start = worker.now
    before = len(worker.latencies)

    def ask(_client: int) -> None:
        worker.at(worker.now + 0.0005, "arrive")

    ask(0)
    worker.run(start + 2, ask)
    assert mean(worker.latencies[before + 60 :]) < 1.15 * mid(1)


def test_a_delay_that_was_set_is_kept_and_a_preferred_size_does_not_wait() -> None:
    patience = Patience(MOST, longest=0.01, preferred=(8, 16))
    assert patience.seconds(7, since=1.0, now=1.004) == pytest.approx(0.006)
    assert patience.seconds(7, since=1.0, now=1.02) == 0
    assert patience.seconds(8, since=1.0, now=1.0) == 0
    assert patience.seconds(MOST, since=1.0, now=1.0) == 0
    assert [patience.fitting(rows) for rows in (3, 8, 15, 17, 100)] == [MOST, 8, 8, 16, 16]
    assert Patience(MOST, longest=0.0).seconds(3, since=1.0, now=1.0) == 0


def sizes() -> Iterator[int]:
    yield from (1, 3, 8, 20, 64, 65, 100, 1000, 65_536)


def test_costs_between_and_beyond_what_was_measured() -> None:
    costs = Costs()
    assert costs.of(5) == 0
    costs.learn(4, 0.4)
    assert costs.of(2) == pytest.approx(0.4)
    assert costs.of(8) == pytest.approx(0.8)
    costs.learn(8, 0.6)
    assert costs.of(6) == pytest.approx(0.5)
    assert costs.of(16) == pytest.approx(1.0)
    for _ in range(100):
        costs.learn(8, 0.5)
    assert costs.of(8) == pytest.approx(0.5, rel=0.01)
    costs.learn(8, 50.0)
    assert costs.of(8) < 0.65


def test_few_sizes_are_kept_of_many() -> None:
    costs = Costs()
    for rows in range(1, 65_536, 7):
        costs.learn(rows, rows / 1000)
    for rows in sizes():
        assert costs.of(rows) == pytest.approx(rows / 1000, rel=0.05, abs=0.01)
    assert len(costs._sizes) < 500
