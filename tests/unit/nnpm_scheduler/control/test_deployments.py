"""What a deployment wants, and which specs are refused."""

from dataclasses import replace

import pytest

from nnpm.errors import InvalidArgument
from nnpm_scheduler.control.deployments import Batching, Failure, Spec
from nnpm_scheduler.dispatch.quotas import Quota
from support.desired_state import deployment, revision

ONE, TWO = revision(1), revision(2)


def test_a_spec_gets_its_defaults() -> None:
    assert Spec("acme/tiny", "", 0).checked() == Spec("acme/tiny", "latest", 1, Batching())


def test_preferred_sizes_are_kept_in_order_and_once() -> None:
    assert Spec("acme/tiny", "", 1, Batching(preferred=(8, 2, 8))).checked().batching.preferred == (2, 8)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (Spec("tiny", ""), "INVALID_PACKAGE_NAME"),
        (Spec("Acme/Tiny", ""), "INVALID_PACKAGE_NAME"),
        (Spec("acme/tiny", "!!"), "INVALID_SELECTOR"),
        (Spec("acme/tiny", "", 1001), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, Batching(65537)), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, quota=Quota(rate=-1)), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, quota=Quota(rate=float("nan"))), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, quota=Quota(in_flight=2_000_000_000)), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, Batching(max_queue_delay=60_000_001)), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, Batching(max_queue_delay=-1)), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, Batching(preferred=(0,))), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, Batching(8, preferred=(9,))), "INVALID_DEPLOYMENT"),
        (Spec("acme/tiny", "", 1, Batching(preferred=tuple(range(1, 18)))), "INVALID_DEPLOYMENT"),
    ],
)
def test_a_wrong_spec_is_refused(spec: Spec, reason: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        spec.checked()
    assert refused.value.reason == reason


def test_the_newest_revision_is_wanted_and_the_one_that_serves_until_then() -> None:
    assert deployment(ONE).wanted() == (ONE,)
    assert deployment(TWO, ONE).wanted() == (TWO, ONE)
    assert deployment(TWO, TWO).wanted() == (TWO,)


def test_a_failed_revision_is_not_wanted() -> None:
    failed = replace(TWO, failure=Failure("X", "y"))
    assert deployment(failed, ONE).wanted() == (ONE,)
    assert deployment(failed).wanted() == ()


def test_a_paused_deployment_wants_nothing() -> None:
    assert deployment(TWO, ONE, paused=True).wanted() == ()


def test_revisions_that_load_alike_are_wanted_once() -> None:
    scaled = revision(2, id="r1", replicas=3)
    assert deployment(scaled, ONE).wanted() == (scaled,)


def test_the_etag_tells_changes_and_namesakes_apart() -> None:
    one = deployment(ONE)
    assert one.etag != replace(one, generation=2).etag
    assert one.etag != replace(one, uid="another").etag
