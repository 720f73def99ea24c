"""Requests of the control port, and what they do to a spec."""

from dataclasses import replace
from datetime import timedelta

import pytest

from nnpm.api.scheduler.v1 import deployment_pb2 as pb
from nnpm.errors import InvalidArgument
from nnpm_scheduler.control.deployment_messages import change_of, deployment_message, spec_of, worker_message
from nnpm_scheduler.control.deployments import Batching, Spec
from nnpm_scheduler.control.status import View
from nnpm_scheduler.dispatch.quotas import Quota
from support.desired_state import NOW, deployment, revision, worker

BEFORE = Spec("acme/tiny", "^1", 2, Batching(8, 5, (4,)), Quota(3, 4))
WANTED = pb.DeploymentSpec(
    package=pb.PackageSource(package="acme/other", selector="^2"),
    replicas=5,
    batching=pb.BatchingSpec(max_batch_size=1, max_queue_delay=timedelta(microseconds=7)),
    quota=pb.QuotaSpec(requests_per_second=0.5),
)


@pytest.mark.parametrize(
    ("paths", "after", "resolves"),
    [
        ((), Spec("acme/other", "^2", 5, Batching(1, 7), Quota(0.5)), True),
        (("spec",), Spec("acme/other", "^2", 5, Batching(1, 7), Quota(0.5)), True),
        (("spec.package",), Spec("acme/other", "^2", 2, BEFORE.batching, BEFORE.quota), True),
        (("spec.package.package",), Spec("acme/other", "^1", 2, BEFORE.batching, BEFORE.quota), True),
        (("spec.package.selector",), Spec("acme/tiny", "^2", 2, BEFORE.batching, BEFORE.quota), True),
        (("spec.replicas",), Spec("acme/tiny", "^1", 5, BEFORE.batching, BEFORE.quota), False),
        (("spec.batching", "spec.replicas"), Spec("acme/tiny", "^1", 5, Batching(1, 7), BEFORE.quota), False),
        (
            ("spec.batching.max_batch_size",),
            Spec("acme/tiny", "^1", 2, replace(BEFORE.batching, max_batch_size=1), BEFORE.quota),
            False,
        ),
        (
            ("spec.batching.max_queue_delay",),
            Spec("acme/tiny", "^1", 2, replace(BEFORE.batching, max_queue_delay=7), BEFORE.quota),
            False,
        ),
        (
            ("spec.batching.preferred_batch_sizes",),
            Spec("acme/tiny", "^1", 2, replace(BEFORE.batching, preferred=()), BEFORE.quota),
            False,
        ),
        (("spec.quota",), replace(BEFORE, quota=Quota(0.5)), False),
        (("spec.quota.in_flight",), replace(BEFORE, quota=Quota(3, 0)), False),
        (("spec.quota.requests_per_second",), replace(BEFORE, quota=Quota(0.5, 4)), False),
        (("spec.rolling",), BEFORE, False),
    ],
)
def test_a_field_mask_changes_what_it_names(paths: tuple[str, ...], after: Spec, resolves: bool) -> None:
    change, resolve = change_of(WANTED, paths)
    assert change(BEFORE) == after
    assert resolve is resolves


def test_an_unknown_path_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument) as refused:
        change_of(WANTED, ["spec.replicas", "status.state", "name"])
    assert refused.value.reason == "INVALID_FIELD_MASK"
    assert [violation.field for violation in refused.value.violations] == ["update_mask", "update_mask"]
    assert "name, status.state" in refused.value.message


def test_a_whole_spec_without_a_package_is_refused() -> None:
    for attempt in (lambda: spec_of(pb.DeploymentSpec()), lambda: change_of(pb.DeploymentSpec(), ())):
        with pytest.raises(InvalidArgument) as refused:
            attempt()
        assert refused.value.violations[0].field == "deployment.spec.package"


def test_a_deployment_shows_spec_status_times_and_etag() -> None:
    wanted = deployment(revision(1), revision(1))
    message = deployment_message(wanted, View((worker("a", r1="ready"),), {}, {}))
    assert (message.name, message.etag) == ("acme-tiny", wanted.etag)
    assert (message.spec.package.package, message.spec.replicas) == ("acme/tiny", 1)
    assert message.spec.WhichOneof("rollout") == "rolling"
    assert message.status.state == pb.DEPLOYMENT_STATE_READY
    assert message.create_time.ToMicroseconds() == round(NOW.timestamp() * 1e6)


def test_a_workers_replicas_are_named_by_deployment() -> None:
    message = worker_message(worker("a", r1="ready", r9="unloading"), [deployment(revision(1))])
    assert [(each.deployment, each.revision, each.state) for each in message.replicas] == [
        ("acme-tiny", 1, pb.REPLICA_STATE_READY),
        ("", 0, pb.REPLICA_STATE_UNLOADING),
    ]


def test_a_quota_is_shown_where_there_is_one() -> None:
    limited = revision(1)
    limited = replace(limited, spec=replace(limited.spec, quota=Quota(2.5, 7)))
    message = deployment_message(deployment(limited, limited), View((), {}, {}))
    assert (message.spec.quota.requests_per_second, message.spec.quota.in_flight) == (2.5, 7)
    assert not deployment_message(deployment(revision(1)), View((), {}, {})).spec.HasField("quota")
