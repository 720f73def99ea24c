"""The route table: what takes calls, what only answers those it has."""

from dataclasses import replace

from nnpm_scheduler.control.fleet import Worker
from nnpm_scheduler.control.routing import route_table
from nnpm_scheduler.dispatch.quotas import Quota
from nnpm_scheduler.dispatch.routes import DeploymentRoute, RevisionRoute, Routes, RouteTable
from support.desired_state import SIGNATURE, deployment, revision, worker

ONE, TWO = revision(1), revision(2)
EMPTY = RouteTable()


def batched(each: Worker, revision: str, rows: int) -> Worker:
    replica = replace(each.replicas[revision], batched=True, max_batch_size=rows)
    return replace(each, replicas={**each.replicas, revision: replica})


def test_a_revision_is_routed_with_what_a_call_needs() -> None:
    table = route_table([deployment(ONE, ONE)], [worker("a", r1="ready"), worker("b", r1="ready")], (), EMPTY)
    route = RevisionRoute("r1", 1, "1.0.0", ONE.published.digest, SIGNATURE, ready=2, deployment="acme-tiny")
    assert table == RouteTable((DeploymentRoute("acme-tiny", "acme/tiny", (route,)),))


def test_a_quota_is_the_deployments_newest_one() -> None:
    limited = replace(TWO, id="r1", spec=replace(TWO.spec, quota=Quota(5, 6)))
    table = route_table([deployment(limited, ONE)], [worker("a", r1="ready")], (), EMPTY)
    assert {route.quota for route in table.deployments[0].revisions} == {Quota(5, 6)}


def test_a_revision_takes_no_calls_before_it_is_promoted() -> None:
    table = route_table([deployment(ONE)], [worker("a", r1="ready")], (), EMPTY)
    assert [route.ready for route in table.deployments[0].revisions] == [0]
    table = route_table([deployment(TWO, ONE)], [worker("a", r1="ready", r2="ready")], (), EMPTY)
    assert [(route.number, route.ready) for route in table.deployments[0].revisions] == [(1, 1), (2, 0)]


def test_a_loading_or_unloading_replica_takes_no_calls() -> None:
    workers = [worker("a", r1="loading"), worker("b", r1="unloading")]
    table = route_table([deployment(ONE, ONE)], workers, (), EMPTY)
    assert table.deployments[0].revisions[0].ready == 0


def test_a_superseded_revision_stays_closed_while_it_answers() -> None:
    workers = [worker("a", r1="ready", r2="ready")]
    before = route_table([deployment(TWO, ONE)], workers, (), EMPTY)
    table = route_table([deployment(TWO, TWO)], workers, {"r1"}, before)
    assert [(route.id, route.draining) for route in table.deployments[0].revisions] == [("r1", True), ("r2", False)]
    routes = Routes()
    routes.replace(table)
    assert routes.resolve("acme-tiny", "").id == "r2"
    again = route_table([deployment(TWO, TWO)], workers, {"r1"}, table)
    assert again == table
    after = route_table([deployment(TWO, TWO)], workers, (), again)
    assert [route.id for route in after.deployments[0].revisions] == ["r2"]


def test_a_paused_deployment_says_so() -> None:
    before = route_table([deployment(ONE, ONE)], [worker("a", r1="ready")], (), EMPTY)
    table = route_table([deployment(ONE, ONE, paused=True)], [worker("a", r1="ready")], {"r1"}, before)
    assert table.deployments[0].paused
    assert table.deployments[0].revisions[0].draining


def test_what_a_deleted_deployment_left_answers_its_calls_under_no_name() -> None:
    before = route_table([deployment(ONE, ONE)], [worker("a", r1="ready")], (), EMPTY)
    table = route_table([], [worker("a", r1="ready")], {"r1"}, before)
    assert [(each.name, each.package) for each in table.deployments] == [("", "")]
    assert table.deployments[0].revisions[0].draining
    assert route_table([], [], {"r1"}, table) == table
    assert route_table([], [], (), table) == EMPTY


def test_requests_are_joined_only_where_every_replica_has_proven_it() -> None:
    proven = batched(worker("a", r1="ready"), "r1", 32)
    table = route_table([deployment(ONE, ONE)], [proven], (), EMPTY)
    assert table.deployments[0].revisions[0].batch == 32
    table = route_table([deployment(ONE, ONE)], [proven, worker("b", r1="ready")], (), EMPTY)
    assert table.deployments[0].revisions[0].batch == 1


def test_revisions_that_share_what_is_loaded_are_one_route() -> None:
    scaled = deployment(revision(2, id="r1", version="1.0.0", replicas=2), ONE)
    table = route_table([scaled], [worker("a", r1="ready")], (), EMPTY)
    assert [(route.id, route.number, route.ready) for route in table.deployments[0].revisions] == [("r1", 2, 1)]


def test_a_deployment_that_changes_its_package_answers_to_the_one_that_serves() -> None:
    other = revision(2, package="acme/other")
    workers = [worker("a", r1="ready", r2="ready")]
    assert route_table([deployment(other, ONE)], workers, (), EMPTY).deployments[0].package == "acme/tiny"
    assert route_table([deployment(other, other)], workers, (), EMPTY).deployments[0].package == "acme/other"
