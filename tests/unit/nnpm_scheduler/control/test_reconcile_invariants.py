"""What no plan may do, whatever the state: over generated deployments, workers, failures and calls."""

from hypothesis import given
from hypothesis import strategies as st

from nnpm_scheduler.control.deployments import Deployment, Failure
from nnpm_scheduler.control.failures import Attempts, LoadError
from nnpm_scheduler.control.fleet import ReplicaState, Worker, ready_replicas
from nnpm_scheduler.control.reconcile import Observed, Plan, reconcile
from nnpm_scheduler.control.routing import route_table
from nnpm_scheduler.dispatch.routes import Routes, RouteTable
from support.desired_state import deployment, revision, worker

NOW = 1000.0
REVISIONS = [f"{name}-{number}" for name in ("a", "b") for number in (1, 2, 3)]
STATES = ["loading", "ready", "unloading"]


@st.composite
def deployed(draw: st.DrawFn, name: str) -> Deployment:
    number = draw(st.integers(1, 3))
    serving_number = draw(st.integers(0, number))
    failure = Failure("X", "y") if draw(st.booleans()) and serving_number != number else None
    replicas = draw(st.integers(1, 3))
    newest = revision(number, id=f"{name}-{number}", replicas=replicas, failure=failure)
    serving = revision(serving_number, id=f"{name}-{serving_number}", replicas=replicas) if serving_number else None
    return deployment(newest, serving, name=name, paused=draw(st.booleans()))


DESIRED = st.tuples(deployed("a"), deployed("b")).map(list)
WORKERS = st.integers(0, 3).flatmap(
    lambda count: st.tuples(
        *(
            st.builds(
                lambda held, draining, number=number: worker(f"w{number}", draining=draining, **held),
                st.dictionaries(st.sampled_from(REVISIONS), st.sampled_from(STATES)),
                st.booleans(),
            )
            for number in range(count)
        )
    )
)
FAILURES = st.dictionaries(
    st.sampled_from(REVISIONS),
    st.builds(
        lambda transient, wait: Attempts(LoadError("X", "y", transient), 1, NOW + wait), st.booleans(), st.floats(-5, 5)
    ),
)
DRAINING = st.dictionaries(st.sampled_from(REVISIONS), st.floats(NOW - 100, NOW))
CALLS = st.dictionaries(st.sampled_from(REVISIONS), st.integers(0, 3))


@given(DESIRED, WORKERS, FAILURES, DRAINING, CALLS)
def test_no_plan_harms_what_serves(
    desired: list[Deployment],
    workers: tuple[Worker, ...],
    failures: dict[str, Attempts],
    draining: dict[str, float],
    calls: dict[str, int],
) -> None:
    plan = reconcile(desired, Observed(workers, failures, draining, lambda id_: calls.get(id_, 0), NOW))
    wanted = {revision.id: revision for each in desired for revision in each.wanted()}
    by_name = {each.incarnation: each for each in workers}

    _loads_are_wanted_and_possible(plan, by_name, set(wanted))
    unloaded = {(unload.worker, unload.revision) for unload in plan.unloads}
    assert len(unloaded) == len(plan.unloads)
    assert not unloaded & {(load.worker, load.revision) for load in plan.loads}
    for worker_name, id_ in unloaded:
        assert by_name[worker_name].has(id_, ReplicaState.LOADING, ReplicaState.READY)
        if id_ not in wanted:
            assert not calls.get(id_, 0) or NOW - draining.get(id_, NOW) >= 60.0
    for id_, each in wanted.items():
        staying = [
            held for held in workers if held.has(id_, ReplicaState.READY) and (held.incarnation, id_) not in unloaded
        ]
        steady = [held for held in workers if held.has(id_, ReplicaState.READY) and not held.draining]
        assert len(staying) >= min(each.spec.replicas, len(steady))
    for promotion in plan.promotions:
        assert ready_replicas(workers, promotion.revision.id)
        assert not promotion.deployment.paused
    for rejection in plan.rejections:
        serving = rejection.deployment.serving
        assert serving is None or serving.id != rejection.deployment.newest.id


def _loads_are_wanted_and_possible(plan: Plan, workers: dict[str, Worker], wanted: set[str]) -> None:
    pairs = [(load.worker, load.revision) for load in plan.loads]
    assert len(set(pairs)) == len(pairs)
    for worker_name, id_ in pairs:
        assert id_ in wanted
        assert not workers[worker_name].draining
        assert not workers[worker_name].has(id_)


@given(DESIRED, WORKERS, st.sets(st.sampled_from(REVISIONS)))
def test_every_route_is_named_once_and_only_the_serving_revision_takes_calls(
    desired: list[Deployment], workers: tuple[Worker, ...], answering: set[str]
) -> None:
    wanted = {revision.id for each in desired for revision in each.wanted()}
    before = route_table(desired, workers, (), RouteTable())
    table = route_table(desired[:1], workers, answering - wanted, before)
    ids = [route.id for each in table.deployments for route in each.revisions]
    assert len(set(ids)) == len(ids)
    for each in table.deployments:
        for route in each.revisions:
            if route.serves:
                (owner,) = [wish for wish in desired if wish.name == each.name]
                assert owner.serving is not None
                assert owner.serving.id == route.id
    routes = Routes()
    routes.replace(table)
    assert routes.table == table
