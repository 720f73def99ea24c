"""From the name that a client asked for to the revision that answers."""

import time
from dataclasses import replace

import pytest

from nnpm.errors import NnpmError
from nnpm.tensors.signature import Signature
from nnpm_scheduler.dispatch.routes import (
    MOST_REMEMBERED,
    REPLICAS_RETURN,
    DeploymentRoute,
    RevisionRoute,
    Routes,
    RouteTable,
)


def revision(number: int, version: str, *, ready: int = 1, draining: bool = False) -> RevisionRoute:
    return RevisionRoute(
        id=f"r{number}.{version}",
        number=number,
        version=version,
        digest="sha256:0",
        signature=Signature((), ()),
        ready=ready,
        draining=draining,
    )


def routes(*deployments: DeploymentRoute) -> Routes:
    served = Routes()
    served.replace(RouteTable(deployments))
    return served


def refusal(served: Routes, name: str, version: str = "") -> NnpmError:
    with pytest.raises(NnpmError) as refused:
        served.resolve(name, version)
    return refused.value


ONE = DeploymentRoute("acme-tiny", "acme/tiny", (revision(1, "1.2.0"),))


@pytest.mark.parametrize("name", ["acme-tiny", "acme/tiny", "acme/tiny@^1.0", "acme/tiny@>= 1", "acme/tiny@1.2.0"])
def test_deployment_package_and_range_lead_to_the_revision(name: str) -> None:
    assert routes(ONE).resolve(name, "").version == "1.2.0"
    assert routes(ONE).resolve(name, "1.2.0").version == "1.2.0"


def test_unknown_names_are_not_found() -> None:
    for name in ("acme-big", "acme/big", "acme/big@1", "", "@1"):
        error = refusal(routes(ONE), name)
        assert (error.code, error.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


def test_what_drains_after_its_deployment_is_gone_can_be_asked_for_by_nobody() -> None:
    nobodys = DeploymentRoute("", "", (revision(1, "1.0.0", draining=True),))
    for name in ("", "@1", "@"):
        assert refusal(routes(nobodys), name).reason == "MODEL_NOT_FOUND"


def test_a_version_that_is_not_served_lists_those_that_are() -> None:
    error = refusal(routes(ONE), "acme-tiny", "2.0.0")
    assert (error.code, error.reason, error.metadata["served"]) == ("NOT_FOUND", "VERSION_NOT_SERVED", "1.2.0")
    error = refusal(routes(ONE), "acme/tiny@^2")
    assert (error.reason, error.metadata["served"]) == ("VERSION_NOT_SERVED", "1.2.0")


def test_a_package_of_several_deployments_is_ambiguous_unless_one_is_the_default() -> None:
    other = DeploymentRoute("canary", "acme/tiny", (revision(2, "2.0.0"),))
    error = refusal(routes(ONE, other), "acme/tiny")
    assert (error.code, error.reason, error.metadata["deployments"]) == (
        "FAILED_PRECONDITION",
        "AMBIGUOUS_MODEL",
        "acme-tiny, canary",
    )
    assert routes(ONE, other).resolve("acme/tiny@^2", "").version == "2.0.0"
    assert routes(ONE, other).resolve("canary", "").version == "2.0.0"
    assert routes(ONE, replace(other, default=True)).resolve("acme/tiny", "").version == "2.0.0"


def test_a_paused_deployment_says_so() -> None:
    error = refusal(routes(replace(ONE, paused=True)), "acme-tiny")
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "DEPLOYMENT_PAUSED")


def test_without_a_warm_replica_the_model_is_not_ready() -> None:
    error = refusal(routes(replace(ONE, revisions=(revision(1, "1.2.0", ready=0),))), "acme-tiny")
    assert (error.code, error.reason, error.retry_after) == ("UNAVAILABLE", "MODEL_NOT_READY", 1.0)
    assert refusal(routes(replace(ONE, revisions=())), "acme-tiny").reason == "MODEL_NOT_READY"


def test_calls_wait_for_a_replica_to_return_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    served = routes(ONE)
    gone = replace(ONE, revisions=(replace(ONE.revisions[0], ready=0),))
    served.replace(RouteTable((gone,)))
    served.replace(RouteTable((gone,)))
    route = served.resolve("acme-tiny", "")
    assert (route.version, route.serves) == ("1.2.0", False)
    later = time.monotonic() + REPLICAS_RETURN + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert refusal(served, "acme-tiny").reason == "MODEL_NOT_READY"
    served.replace(RouteTable((ONE,)))
    assert served.resolve("acme-tiny", "").serves


def test_new_calls_go_to_the_newest_warm_revision_that_does_not_drain() -> None:
    old, new = revision(1, "1.0.0"), revision(2, "2.0.0", ready=0)
    served = routes(DeploymentRoute("d", "a/b", (old, new)))
    assert served.resolve("d", "").version == "1.0.0"
    served.replace(RouteTable((DeploymentRoute("d", "a/b", (old, replace(new, ready=1))),)))
    assert served.resolve("d", "").version == "2.0.0"
    assert served.resolve("d", "1.0.0").version == "1.0.0"
    served.replace(RouteTable((DeploymentRoute("d", "a/b", (replace(old, draining=True), replace(new, ready=1))),)))
    assert refusal(served, "d", "1.0.0").reason == "VERSION_NOT_SERVED"


def test_an_invalid_range_is_the_callers_fault() -> None:
    assert refusal(routes(ONE), "acme/tiny@not a range").code == "INVALID_ARGUMENT"


def test_resolved_names_do_not_grow_without_bound() -> None:
    served = routes(ONE)
    for n in range(MOST_REMEMBERED + 100):
        served.resolve(f"acme/tiny@>=0.0.{n}", "")
    assert len(served._resolved) == MOST_REMEMBERED


def test_a_revision_retires_once_when_it_has_left_the_table_for_long_enough() -> None:
    served = routes(ONE)
    served.replace(RouteTable())
    assert served.pop_retired(60) == []
    assert served.pop_retired(0) == ["r1.1.2.0"]
    assert served.pop_retired(0) == []


def test_a_revision_that_comes_back_does_not_retire() -> None:
    served = routes(ONE)
    served.replace(RouteTable())
    served.replace(RouteTable((ONE,)))
    assert served.pop_retired(0) == []
    assert served.revision("r1.1.2.0") is not None


def test_watchers_see_the_new_table() -> None:
    served = routes()
    seen: list[RouteTable] = []
    served.watch(lambda: seen.append(served.table))
    served.replace(RouteTable((ONE,)))
    assert seen == [RouteTable((ONE,))]
