"""Reconciliation as a pure function: desired and observed state in, actions out."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from nnpm_scheduler.control.deployments import Deployment, Failure
from nnpm_scheduler.control.failures import PATIENCE, WORKER_LOST, Attempts, LoadError
from nnpm_scheduler.control.fleet import ReplicaState, Worker
from nnpm_scheduler.control.placement import Assignment
from nnpm_scheduler.control.reconcile import (
    DRAIN_LIMIT,
    DRAIN_SETTLE,
    Observed,
    Plan,
    Promotion,
    Rejection,
    Unload,
    reconcile,
)
from support.desired_state import MIB, deployment, revision, worker

ONE, TWO = revision(1), revision(2)
CORRUPT = LoadError("MODEL_LOAD_FAILED", "no ONNX file", transient=False)
AWAY = LoadError("SERVER_UNREACHABLE", "artifact does not answer", transient=True)


def plan(
    deployments: list[Deployment],
    workers: list[Worker],
    *,
    failures: Mapping[str, Attempts] | None = None,
    draining: Mapping[str, float] | None = None,
    calls: Mapping[str, int] | None = None,
    now: float = 100.0,
) -> Plan:
    return reconcile(
        deployments,
        Observed(workers, failures or {}, draining or {}, lambda revision: (calls or {}).get(revision, 0), now),
    )


def attempts(error: LoadError, count: int = 1, retry_at: float = 0.0) -> dict[str, Attempts]:
    return {"r1": Attempts(error, count, retry_at, frozenset({"a"}))}


def test_a_new_deployment_is_placed() -> None:
    made = plan([deployment(ONE)], [worker("a")])
    assert made.loads == (Assignment("a", "r1"),)
    assert not made.unloads
    assert not made.promotions


def test_nothing_is_done_when_all_is_as_wanted() -> None:
    made = plan([deployment(ONE, ONE)], [worker("a", r1="ready"), worker("b")])
    assert made == Plan((), (), (), (), (), {}, frozenset(), {})


def test_a_loading_replica_is_waited_for() -> None:
    made = plan([deployment(ONE)], [worker("a", r1="loading"), worker("b")])
    assert not made.loads
    assert not made.promotions


def test_a_warm_revision_is_promoted() -> None:
    wanted = deployment(ONE)
    assert plan([wanted], [worker("a", r1="ready")]).promotions == (Promotion(wanted, ONE),)


def test_the_old_revision_stays_until_the_new_one_is_warm() -> None:
    made = plan([deployment(TWO, ONE)], [worker("a", r1="ready")])
    assert made.loads == (Assignment("a", "r2"),)
    made = plan([deployment(TWO, ONE)], [worker("a", r1="ready", r2="loading")])
    assert made == Plan((), (), (), (), (), {}, frozenset(), {})
    made = plan([deployment(TWO, ONE)], [worker("a", r1="ready", r2="ready")])
    assert made.promotions
    assert not made.unloads


def test_a_new_revision_takes_over_only_when_all_its_placed_replicas_are_warm() -> None:
    wanted = deployment(revision(2, replicas=2), revision(1, replicas=2))
    half = [worker("a", r1="ready", r2="ready"), worker("b", r1="ready", r2="loading")]
    assert not plan([wanted], half).promotions
    assert not plan([wanted], [half[0], worker("b", r1="ready")]).promotions
    assert plan([wanted], [half[0], worker("b", r1="ready", r2="ready")]).promotions


def test_a_new_revision_takes_over_at_once_when_the_old_one_serves_no_more() -> None:
    wanted = deployment(revision(2, replicas=2), ONE)
    assert plan([wanted], [worker("a", r2="ready"), worker("b", r2="loading")]).promotions


def test_a_new_revision_that_finds_room_for_some_replicas_takes_over_with_those() -> None:
    wanted = deployment(revision(2, replicas=2, size=6 * MIB), revision(1, replicas=2, size=6 * MIB))
    workers = [worker("a", memory=12 * MIB, r1="ready", r2="ready"), worker("b", memory=8 * MIB, r1="ready")]
    made = plan([wanted], workers)
    assert made.promotions
    assert "r2" in made.shortages


def test_a_superseded_revision_drains_before_it_is_unloaded() -> None:
    wanted, workers = deployment(TWO, TWO), [worker("a", r1="ready", r2="ready")]
    made = plan([wanted], workers, calls={"r1": 3}, now=100.0)
    assert made.draining == {"r1": 100.0}
    assert made.answering == {"r1"}
    assert not made.unloads
    made = plan([wanted], workers, calls={"r1": 1}, draining=made.draining, now=130.0)
    assert not made.unloads
    made = plan([wanted], workers, draining=made.draining, now=131.0)
    assert made.unloads == (Unload("a", "r1"),)


def test_a_drain_waits_for_calls_that_are_being_admitted() -> None:
    made = plan([deployment(TWO, TWO)], [worker("a", r1="ready", r2="ready")], draining={"r1": 100.0}, now=100.0)
    assert not made.unloads
    later = 100.0 + 2 * DRAIN_SETTLE
    made = plan([deployment(TWO, TWO)], [worker("a", r1="ready", r2="ready")], draining={"r1": 100.0}, now=later)
    assert made.unloads


def test_a_drain_ends_after_sixty_seconds() -> None:
    assert DRAIN_LIMIT == 60.0
    made = plan(
        [deployment(TWO, TWO)],
        [worker("a", r1="ready", r2="ready")],
        calls={"r1": 1},
        draining={"r1": 100.0},
        now=160.0,
    )
    assert made.unloads == (Unload("a", "r1"),)
    assert not made.answering


def test_calls_on_a_draining_revision_whose_worker_died_stay_routed_until_the_limit() -> None:
    wanted = [deployment(TWO, TWO)]
    made = plan(wanted, [worker("b", r2="ready")], calls={"r1": 1}, draining={"r1": 100.0}, now=110.0)
    assert made.answering == {"r1"}
    made = plan(wanted, [worker("b", r2="ready")], calls={"r1": 1}, draining={"r1": 100.0}, now=160.0)
    assert not made.draining


def test_an_unload_is_sent_once() -> None:
    made = plan([deployment(TWO, TWO)], [worker("a", r1="unloading", r2="ready")], draining={"r1": 0.0})
    assert not made.unloads


def test_a_paused_deployment_is_unloaded() -> None:
    wanted = deployment(ONE, ONE, paused=True)
    made = plan([wanted], [worker("a", r1="ready")], draining={"r1": 0.0})
    assert made.unloads == (Unload("a", "r1"),)
    assert not made.loads
    assert plan([wanted], [worker("a")]) == Plan((), (), (), (), (), {}, frozenset(), {})


def test_what_a_deleted_deployment_left_is_unloaded() -> None:
    assert plan([], [worker("a", r1="ready")], draining={"r1": 0.0}).unloads == (Unload("a", "r1"),)


def test_a_lost_replica_is_placed_on_another_worker_at_once() -> None:
    made = plan([deployment(ONE, ONE)], [worker("b")])
    assert made.loads == (Assignment("b", "r1"),)


def test_lost_replicas_that_serve_come_before_new_revisions() -> None:
    lost = deployment(revision(3, size=5 * MIB), revision(3, size=5 * MIB), name="b")
    fresh = deployment(revision(4, size=5 * MIB), name="a")
    made = plan([fresh, lost], [worker("w", memory=6 * MIB)])
    assert made.loads == (Assignment("w", "r3"),)


def test_a_replica_too_many_goes_again_loading_ones_first() -> None:
    made = plan([deployment(ONE, ONE)], [worker("a", r1="loading"), worker("b", r1="ready")])
    assert made.unloads == (Unload("a", "r1"),)


def test_of_warm_replicas_too_many_the_busiest_workers_one_goes() -> None:
    made = plan(
        [deployment(ONE, ONE), deployment(TWO, TWO, name="other")],
        [worker("a", r1="ready", r2="ready"), worker("b", r1="ready")],
    )
    assert made.unloads == (Unload("a", "r1"),)


def test_a_change_of_replicas_only_loads_nothing_anew() -> None:
    wanted = deployment(revision(2, id="r1", replicas=2), ONE)
    made = plan([wanted], [worker("a", r1="ready"), worker("b")])
    assert made.loads == (Assignment("b", "r1"),)
    assert not made.promotions
    assert plan([wanted], [worker("a", r1="ready"), worker("b", r1="ready")]).promotions


def test_more_replicas_than_workers_are_placed_as_far_as_possible() -> None:
    made = plan([deployment(revision(1, replicas=5))], [worker("a"), worker("b")])
    assert len(made.loads) == 2
    assert "r1" in made.shortages


def test_a_transient_failure_is_tried_again_after_its_wait() -> None:
    waiting = attempts(AWAY, retry_at=101.0)
    assert not plan([deployment(ONE)], [worker("a")], failures=waiting, now=100.0).loads
    assert plan([deployment(ONE)], [worker("a")], failures=waiting, now=101.0).loads


def test_the_next_attempt_goes_to_another_worker() -> None:
    made = plan([deployment(ONE)], [worker("a"), worker("b", r9="ready")], failures=attempts(AWAY))
    assert made.loads == (Assignment("b", "r1"),)


def test_a_final_failure_is_not_tried_again_and_given_up() -> None:
    wanted = deployment(ONE)
    made = plan([wanted], [worker("a"), worker("b")], failures=attempts(CORRUPT))
    assert not made.loads
    assert made.rejections == (Rejection(wanted, Failure("MODEL_LOAD_FAILED", "no ONNX file")),)


def test_a_revision_that_takes_its_workers_down_is_given_up() -> None:
    lost = LoadError(WORKER_LOST, "worker a was lost while loading it", transient=True)
    assert not plan([deployment(ONE)], [worker("a")], failures=attempts(lost, PATIENCE - 1)).rejections
    assert plan([deployment(ONE)], [worker("a")], failures=attempts(lost, PATIENCE)).rejections


def test_a_failed_update_leaves_the_old_revision_serving() -> None:
    failed = replace(TWO, failure=Failure("MODEL_LOAD_FAILED", "no ONNX file"))
    made = plan([deployment(failed, ONE)], [worker("a", r1="ready")])
    assert made == Plan((), (), (), (), (), {}, frozenset(), {})
    assert plan([deployment(failed, ONE)], [worker("b")]).loads == (Assignment("b", "r1"),)


@pytest.mark.parametrize("error", [CORRUPT, AWAY])
def test_a_revision_that_has_served_is_always_tried_again(error: LoadError) -> None:
    made = plan([deployment(ONE, ONE)], [worker("a")], failures=attempts(error, PATIENCE))
    assert made.loads
    assert not made.rejections


def test_a_failure_on_one_worker_gives_nothing_up_while_another_holds_the_revision() -> None:
    wanted = deployment(revision(1, replicas=2))
    made = plan([wanted], [worker("a"), worker("b", r1="ready")], failures=attempts(CORRUPT))
    assert not made.rejections
    assert made.promotions


def test_a_draining_worker_keeps_its_replica_until_another_is_warm() -> None:
    leaving = worker("a", draining=True, r1="ready")
    made = plan([deployment(ONE, ONE)], [leaving, worker("b")])
    assert made.loads == (Assignment("b", "r1"),)
    assert not made.unloads
    assert not plan([deployment(ONE, ONE)], [leaving, worker("b", r1="loading")]).unloads
    assert plan([deployment(ONE, ONE)], [leaving, worker("b", r1="ready")]).unloads == (Unload("a", "r1"),)


def test_a_draining_worker_is_emptied_although_nobody_can_stand_in() -> None:
    made = plan([deployment(ONE, ONE)], [worker("a", draining=True, r1="ready")])
    assert made.unloads == (Unload("a", "r1"),)


def test_an_empty_draining_worker_may_leave() -> None:
    assert plan([], [worker("a", draining=True), worker("b")]).departures == ("a",)
    assert not plan([], [worker("a", draining=True, r1="unloading")]).departures


def test_following_the_plans_reaches_the_wanted_state_and_stays_there() -> None:
    """Two deployments, two workers, one update: obeying every plan converges, and something always serves."""
    first, other = revision(1, replicas=2), revision(7, package="acme/other")
    wanted = {"acme-tiny": deployment(first), "other": deployment(other, name="other")}
    state = {name: worker(name) for name in ("a", "b")}
    draining: Mapping[str, float] = {}
    now, updated = 0.0, False
    for _ in range(40):
        made = plan(list(wanted.values()), list(state.values()), draining=draining, now=now)
        draining, now = made.draining, now + 1.0
        for promotion in made.promotions:
            name = promotion.deployment.name
            wanted[name] = replace(wanted[name], serving=promotion.revision)
        state = {name: _obey(each, made) for name, each in state.items()}
        if updated:
            assert any(each.has(id_, ReplicaState.READY) for each in state.values() for id_ in ("r1", "r2"))
        if wanted["acme-tiny"].serving == first and not updated:
            wanted["acme-tiny"] = replace(wanted["acme-tiny"], newest=revision(2, replicas=2))
            updated = True
    loaded = sorted(id_ for each in state.values() for id_ in each.replicas)
    assert loaded == ["r2", "r2", "r7"]
    assert made == Plan((), (), (), (), (), {}, frozenset(), {})


def _obey(each: Worker, made: Plan) -> Worker:
    """A worker one second later: what was loading is warm, what was unloading is gone, and the plan is begun."""
    states = {
        id_: "ready" if replica.state is not ReplicaState.UNLOADING else "" for id_, replica in each.replicas.items()
    }
    states |= {load.revision: "loading" for load in made.loads if load.worker == each.incarnation}
    states |= {unload.revision: "unloading" for unload in made.unloads if unload.worker == each.incarnation}
    return worker(each.incarnation, **{id_: state for id_, state in states.items() if state})
