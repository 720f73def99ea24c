"""What waits leaves by class, fairly among tenants, by deadline; and no class stands still. No clock but the test's."""

import tracemalloc
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpm_scheduler.dispatch.inflight import Flight
from nnpm_scheduler.dispatch.order import AGED_PLACE, Order
from nnpm_scheduler.dispatch.standing import Priority, Standing

WEIGHTS = {"heavy": 3.0}


class Rig:
    """An order, and numbers for the blocks in it."""

    def __init__(self, ageing: float = 1e9) -> None:
        self.order = Order(lambda tenant: WEIGHTS.get(tenant, 1.0), ageing)
        self.now = 0.0
        self._number = 0

    def block(
        self,
        tenant: str = "",
        priority: Priority = Priority.NORMAL,
        *,
        count: int = 1,
        timeout: float = 1.0,
        cost: int = 1,
    ) -> Flight:
        """One that waits."""
        calls, at = None, int(self.now * 1e9)
        flight = Flight(self._number + 1, 0, calls, count, "r", None, 1, at, self.now + timeout)  # type: ignore[arg-type]
        flight.standing, flight.cost = Standing(priority, tenant), cost
        self._number += count
        self.order.add(flight)
        return flight

    def pop(self) -> Flight:
        head = self.order.head(self.now)
        self.order.pop(head)
        return head.flight

    def drain(self, most: int = 1 << 30) -> list[Flight]:
        left = []
        while self.order.requests and len(left) < most:
            left.append(self.pop())
        return left


def tenants(flights: list[Flight]) -> Counter[str]:
    served: Counter[str] = Counter()
    for flight in flights:
        served[flight.standing.tenant] += flight.work
    return served


def test_one_tenants_blocks_of_one_time_out_leave_in_the_order_of_arrival() -> None:
    rig = Rig()
    blocks = [rig.block(count=count) for count in (3, 1, 64, 2)]
    assert rig.drain() == blocks


def test_the_more_urgent_class_leaves_first() -> None:
    rig = Rig()
    low, normal, high = [rig.block(priority=priority) for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)]
    assert rig.drain() == [high, normal, low]


def test_among_lanes_the_earliest_deadline_leaves_first() -> None:
    rig = Rig()
    patient, hurried = rig.block(timeout=60), rig.block(timeout=0.1)
    rig.now = 59.95
    late = rig.block(timeout=0.1)
    assert rig.drain() == [hurried, patient, late]


def test_a_tenant_with_ten_times_the_blocks_gets_no_more_than_its_share() -> None:
    rig = Rig()
    for _ in range(200):
        rig.block("big")
    for _ in range(20):
        rig.block("small")
    assert tenants(rig.drain(40)) == {"big": 20, "small": 20}


def test_a_tenant_that_comes_to_a_long_queue_is_next() -> None:
    rig = Rig()
    for _ in range(500):
        rig.block("big", count=64)
    rig.drain(100)
    newcomer = rig.block("small")
    assert newcomer in rig.drain(2)


def test_shares_follow_weights_and_count_what_a_request_costs() -> None:
    rig = Rig()
    for _ in range(400):
        rig.block("heavy")
        rig.block("light", cost=4)
    served = tenants(rig.drain(200))
    assert served["heavy"] / served["light"] == pytest.approx(3, rel=0.1)


def test_a_tenant_that_sends_one_at_a_time_cannot_keep_others_out() -> None:
    rig = Rig()
    for _ in range(50):
        rig.block("patient")
    rig.block("eager")
    left = []
    for _ in range(60):
        left.append(rig.pop())
        if left[-1].standing.tenant == "eager":
            rig.block("eager")
    assert tenants(left) == {"patient": 30, "eager": 30}


def test_a_lower_class_is_passed_over_until_it_has_aged_and_then_has_every_tenth_place() -> None:
    rig = Rig(ageing=1.0)
    for _ in range(200):
        rig.block(priority=Priority.HIGH)
        rig.block(priority=Priority.LOW)
    rig.now = 0.9
    assert Counter(flight.standing.priority for flight in rig.drain(50)) == {Priority.HIGH: 50}
    rig.now = 1.0
    classes = [flight.standing.priority for flight in rig.drain(100)]
    assert Counter(classes) == {Priority.HIGH: 90, Priority.LOW: 10}
    assert classes[:AGED_PLACE].count(Priority.LOW) == 1


def test_large_blocks_of_an_aged_class_have_no_more_than_a_tenth_of_the_work() -> None:
    rig = Rig(ageing=1.0)
    for _ in range(5_000):
        rig.block(priority=Priority.HIGH)
    for _ in range(50):
        rig.block(priority=Priority.LOW, count=64)
    rig.now = 2.0
    work: Counter[Priority] = Counter()
    for flight in rig.drain(3_000):
        work[flight.standing.priority] += flight.work
    assert work[Priority.LOW] / work.total() == pytest.approx(1 / AGED_PLACE, rel=0.2)


def test_what_is_forgotten_or_has_shrunk_counts_no_more() -> None:
    rig = Rig()
    first, second = rig.block("a", count=4, cost=2), rig.block("b", count=3)
    rig.order.shrink(first, 3)
    first.live -= 3
    rig.order.forget(second)
    rig.order.forget(second)
    assert rig.order.requests == 1
    assert rig.drain() == [first]
    rig.order.shrink(first, 1)
    assert rig.order.requests == 0


def test_what_comes_back_goes_ahead_of_its_tenants_others() -> None:
    rig = Rig()
    first, second, third = [rig.block() for _ in range(3)]
    assert rig.drain(2) == [first, second]
    rig.order.put_back([first, second])
    assert rig.drain() == [first, second, third]


def test_work_ahead_counts_higher_classes_earlier_deadlines_and_the_share_of_others() -> None:
    rig = Rig()
    for _ in range(10):
        rig.block("mine", Priority.HIGH)
        rig.block("mine", count=2)
        rig.block("others", count=10)
        rig.block("mine", Priority.LOW)
    normal = Standing(Priority.NORMAL, "mine")
    assert rig.order.ahead(normal, 1.0, 1, 1e9) == 10 + 20 + 21
    assert rig.order.ahead(normal, 0.5, 1, 1e9) == 10 + 0 + 1
    assert rig.order.ahead(Standing(Priority.NORMAL, "others"), 1.0, 1, 1e9) == 10 + 100 + 20
    assert rig.order.ahead(Standing(Priority.HIGH, "new"), 1.0, 1, 1e9) == 1
    assert rig.order.ahead(Standing(Priority.NORMAL, "heavy"), 1.0, 3, 1e9) == 10 + 2


@given(st.integers(0, 1 << 30))
def test_whatever_comes_and_goes_every_block_leaves_once_and_the_books_balance(seed: int) -> None:
    dice, rig = Random(seed), Rig(ageing=0.05)
    waiting: dict[int, Flight] = {}
    for _ in range(200):
        rig.now += dice.random() / 100
        match dice.choice(["add", "add", "pop", "forget", "shrink", "put back"]):
            case "add":
                tenant, priority = dice.choice(["", "a", "b", "heavy"]), dice.choice(list(Priority))
                count, timeout, cost = dice.randint(1, 64), dice.choice([0.1, 1, 2, 60]), dice.choice([1, 1, 5])
                flight = rig.block(tenant, priority, count=count, timeout=timeout, cost=cost)
                waiting[flight.number] = flight
            case "pop" if waiting:
                del waiting[rig.pop().number]
            case "forget" if waiting:
                rig.order.forget(waiting.pop(dice.choice(list(waiting))))
            case "shrink" if waiting:
                flight = waiting[dice.choice(list(waiting))]
                calls = dice.randint(0, flight.live - 1)
                rig.order.shrink(flight, calls)
                flight.live -= calls
            case "put back" if waiting:
                flight = rig.pop()
                rig.order.put_back([flight])
        assert rig.order.requests == sum(flight.live for flight in waiting.values())
    assert {flight.number for flight in rig.drain()} == set(waiting)


def test_tenants_that_came_once_are_forgotten_however_many_they_are() -> None:
    rig = Rig()
    rig.block("patient", count=1_000_000)  # so that something always waits
    tracemalloc.start()
    try:
        seen = []
        for round_ in range(4):
            for number in range(2_000):
                rig.block(f"{round_}-{number}")
                assert rig.pop().standing.tenant
            seen.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert seen[-1] < seen[0] * 1.2, seen
