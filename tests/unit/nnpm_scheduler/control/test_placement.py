"""Placement: spread, room, runtimes, and why somebody got less than he wanted."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nnpm_scheduler.control.fleet import Worker
from nnpm_scheduler.control.placement import Assignment, Need, place
from support.desired_state import MIB, measured, worker


def need(revision: str = "r1", replicas: int = 1, memory: int = MIB, avoid: frozenset[str] = frozenset()) -> Need:
    return Need(revision, replicas, memory, "onnx", avoid)


def test_replicas_are_spread_over_the_least_loaded_workers() -> None:
    workers = [worker("a", r8="ready", r9="ready"), worker("b", r9="ready"), worker("c")]
    placed = place([need(replicas=2)], workers, {})
    assert placed.assignments == (Assignment("c", "r1"), Assignment("b", "r1"))
    assert not placed.shortages


def test_of_equally_loaded_workers_the_one_with_most_free_memory_is_taken() -> None:
    workers = [worker("a", memory=10 * MIB), worker("b", memory=20 * MIB)]
    assert place([need()], workers, {}).assignments == (Assignment("b", "r1"),)


def test_a_worker_holds_one_replica_of_a_revision() -> None:
    placed = place([need(replicas=3)], [worker("a"), worker("b")], {})
    assert {assignment.worker for assignment in placed.assignments} == {"a", "b"}
    assert placed.shortages["r1"] == "workers that can run it: 2, and each holds one replica of a revision"


def test_a_replica_goes_only_where_it_fits() -> None:
    workers = [worker("a", memory=2 * MIB), worker("b", memory=8 * MIB, r9="ready")]
    placed = place([need(memory=3 * MIB)], workers, {"r9": MIB})
    assert placed.assignments == (Assignment("b", "r1"),)


def test_measured_memory_counts_before_the_estimate() -> None:
    full = measured(worker("a", memory=8 * MIB, r9="ready"), "r9", 7 * MIB)
    placed = place([need(memory=2 * MIB)], [full], {"r9": MIB})
    assert not placed.assignments
    assert placed.shortages["r1"] == "a replica takes 2.0 MiB, and no worker has more than 1.0 MiB left"


def test_two_placements_in_one_turn_do_not_take_the_same_room() -> None:
    placed = place([need("r1", memory=3 * MIB), need("r2", memory=3 * MIB)], [worker("a", memory=5 * MIB)], {})
    assert placed.assignments == (Assignment("a", "r1"),)
    assert "r2" in placed.shortages


def test_a_worker_without_the_runtime_gets_nothing() -> None:
    other = worker("a")
    other = replace(other, facts=replace(other.facts, runtimes=("sleeping",)))
    placed = place([need()], [other], {})
    assert placed.shortages["r1"] == "no connected worker has the runtime 'onnx'"


def test_a_draining_worker_gets_nothing() -> None:
    placed = place([need()], [worker("a", draining=True)], {})
    assert placed.shortages["r1"] == "no worker is connected that takes replicas"


def test_where_it_failed_is_the_last_resort() -> None:
    failed = frozenset({"a"})
    assert place([need(avoid=failed)], [worker("a"), worker("b", r9="ready")], {}).assignments[0].worker == "b"
    assert place([need(avoid=failed)], [worker("a")], {}).assignments[0].worker == "a"


WORKERS = st.lists(
    st.builds(
        lambda number, memory, held: worker(f"w{number}", memory=memory * MIB, **dict.fromkeys(held, "ready")),
        st.integers(0, 9),
        st.integers(1, 8),
        st.sets(st.sampled_from(["r1", "r2", "r8"])),
    ),
    max_size=6,
    unique_by=lambda worker: worker.incarnation,
)


@given(WORKERS, st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
def test_no_worker_is_overfilled_or_given_a_second_copy(workers: list[Worker], one: int, two: int, size: int) -> None:
    memory = {"r1": size * MIB, "r2": MIB, "r8": MIB}
    needs = [need("r1", one, size * MIB), need("r2", two, MIB)]
    placed = place(needs, workers, memory)
    assert len(set(placed.assignments)) == len(placed.assignments)
    for each in workers:
        given = [assignment.revision for assignment in placed.assignments if assignment.worker == each.incarnation]
        assert not set(given) & set(each.replicas)
        used = sum(memory[revision] for revision in [*given, *each.replicas])
        assert not given or used <= each.facts.memory
    for wanted in needs:
        got = sum(assignment.revision == wanted.revision for assignment in placed.assignments)
        assert (got < wanted.replicas) == (wanted.revision in placed.shortages)
