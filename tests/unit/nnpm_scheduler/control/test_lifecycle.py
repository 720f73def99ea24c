"""What users do to deployments, and what becomes of it."""

import asyncio
from dataclasses import replace

import pytest

from nnpm.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from nnpm_scheduler.control.deployments import Batching, Deployment, Failure, Spec
from nnpm_scheduler.control.desired import DesiredState
from nnpm_scheduler.control.failures import LoadError, LoadFailures
from nnpm_scheduler.control.lifecycle import Lifecycle
from nnpm_scheduler.control.store import Store
from support.desired_state import KnownVersions, published

TINY = Spec("acme/tiny", "^1")


@pytest.fixture(autouse=True)
def _versions(registry: KnownVersions) -> None:
    for selector, version in (("^1", "1.0.0"), ("latest", "2.0.0"), ("^2", "2.0.0")):
        registry.versions["acme/tiny", selector] = published(version)


def same(spec: Spec) -> Spec:
    return spec


async def test_a_deployment_is_named_after_its_package(lifecycle: Lifecycle) -> None:
    made = await lifecycle.create("", TINY)
    assert (made.name, made.newest.number, made.newest.published.version) == ("acme-tiny", 1, "1.0.0")
    assert (await lifecycle.create("mine", TINY)).name == "mine"


async def test_a_deployment_is_found_at_once_by_name_or_package(lifecycle: Lifecycle, desired: DesiredState) -> None:
    made = await lifecycle.create("", TINY)
    assert desired.find("acme-tiny") == desired.find("acme/tiny") == made


async def test_a_package_with_several_deployments_is_ambiguous(lifecycle: Lifecycle, desired: DesiredState) -> None:
    await lifecycle.create("one", TINY)
    await lifecycle.create("two", TINY)
    with pytest.raises(FailedPrecondition) as refused:
        desired.find("acme/tiny")
    assert refused.value.reason == "AMBIGUOUS_MODEL"
    assert "one, two" in refused.value.message


async def test_an_unknown_version_is_refused_with_the_registrys_words(lifecycle: Lifecycle) -> None:
    with pytest.raises(NotFound) as refused:
        await lifecycle.create("", Spec("acme/tiny", "^9"))
    assert refused.value.reason == "VERSION_NOT_FOUND"


@pytest.mark.parametrize("name", ["a/b", "A", "-a", "a" * 64])
async def test_a_name_that_is_no_slug_is_refused(lifecycle: Lifecycle, name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await lifecycle.create(name, TINY)
    assert refused.value.reason == "INVALID_DEPLOYMENT_NAME"


async def test_creating_is_idempotent_by_request_id(lifecycle: Lifecycle, registry: KnownVersions) -> None:
    first = await lifecycle.create("", TINY, "request-1")
    registry.versions.clear()  # the retry does not need the registry
    assert await lifecycle.create("", TINY, "request-1") == first
    with pytest.raises(AlreadyExists):
        await lifecycle.create("", replace(TINY, replicas=2), "request-1")
    with pytest.raises(InvalidArgument):
        await lifecycle.create("", TINY, "x" * 65)


async def test_each_change_is_a_numbered_revision(lifecycle: Lifecycle, store: Store) -> None:
    made = await lifecycle.create("", TINY)
    changed = await lifecycle.update("acme-tiny", made.etag, lambda spec: replace(spec, selector="^2"), resolve=True)
    assert (changed.newest.number, changed.newest.published.version) == (2, "2.0.0")
    assert changed.newest.id != made.newest.id
    assert await store.revision(changed, 1) == made.newest


async def test_a_selector_that_means_a_newer_version_makes_a_revision(
    lifecycle: Lifecycle, registry: KnownVersions
) -> None:
    await lifecycle.create("", TINY)
    registry.versions["acme/tiny", "^1"] = published("1.1.0")
    assert (await lifecycle.update("acme-tiny", "", same, resolve=False)).newest.number == 1
    assert (await lifecycle.update("acme-tiny", "", same, resolve=True)).newest.published.version == "1.1.0"


async def test_a_change_that_changes_nothing_makes_no_revision(lifecycle: Lifecycle) -> None:
    made = await lifecycle.create("", TINY)
    assert await lifecycle.update("acme-tiny", made.etag, same, resolve=True) == made


async def test_an_old_etag_is_refused(lifecycle: Lifecycle) -> None:
    made = await lifecycle.create("", TINY)
    await lifecycle.pause("acme-tiny")
    for attempt in (
        lifecycle.update("acme-tiny", made.etag, same, resolve=False),
        lifecycle.delete("acme-tiny", made.etag),
    ):
        with pytest.raises(Aborted) as refused:
            await attempt
        assert refused.value.reason == "ETAG_MISMATCH"


async def test_concurrent_changes_without_an_etag_all_take_effect(lifecycle: Lifecycle, desired: DesiredState) -> None:
    await lifecycle.create("", TINY)
    await asyncio.gather(
        lifecycle.update("acme-tiny", "", lambda spec: replace(spec, replicas=3), resolve=False),
        lifecycle.update("acme-tiny", "", lambda spec: replace(spec, batching=Batching(8)), resolve=False),
    )
    assert desired.find("acme-tiny").spec == replace(TINY, replicas=3, batching=Batching(8))


async def test_scaling_goes_on_with_what_is_loaded(lifecycle: Lifecycle) -> None:
    made = await lifecycle.create("", TINY)
    scaled = await lifecycle.update("acme-tiny", "", lambda spec: replace(spec, replicas=4), resolve=False)
    assert (scaled.newest.number, scaled.newest.id) == (2, made.newest.id)
    joined = await lifecycle.update("acme-tiny", "", lambda spec: replace(spec, batching=Batching(1)), resolve=False)
    assert joined.newest.id != made.newest.id


async def test_rolling_back_needs_no_registry(lifecycle: Lifecycle, registry: KnownVersions) -> None:
    made = await lifecycle.create("", TINY)
    await lifecycle.update("acme-tiny", "", lambda spec: replace(spec, selector="^2"), resolve=True)
    registry.versions.clear()
    back = await lifecycle.roll_back("acme-tiny", 0)
    assert (back.newest.number, back.newest.published, back.spec) == (3, made.newest.published, made.spec)
    assert (await lifecycle.roll_back("acme-tiny", 2)).newest.published.version == "2.0.0"
    with pytest.raises(NotFound) as refused:
        await lifecycle.roll_back("acme-tiny", 9)
    assert refused.value.reason == "REVISION_NOT_FOUND"


async def test_the_first_revision_cannot_be_rolled_back(lifecycle: Lifecycle) -> None:
    await lifecycle.create("", TINY)
    with pytest.raises(FailedPrecondition) as refused:
        await lifecycle.roll_back("acme-tiny", 0)
    assert refused.value.reason == "NO_EARLIER_REVISION"


async def test_rolling_back_to_what_serves_goes_on_with_it(
    lifecycle: Lifecycle, store: Store, desired: DesiredState
) -> None:
    made = await lifecycle.create("", TINY)
    await store.promote(made.uid, 1)
    await lifecycle.update("acme-tiny", "", lambda spec: replace(spec, selector="^2"), resolve=True)
    back = await lifecycle.roll_back("acme-tiny", 1)
    assert (back.newest.number, back.newest.id) == (3, made.newest.id)
    assert desired.find("acme-tiny").wanted() == (back.newest,)


async def test_pause_and_resume_are_kept_and_repeatable(lifecycle: Lifecycle, database_url: str, store: Store) -> None:
    await lifecycle.create("", TINY)
    paused = await lifecycle.pause("acme/tiny")
    assert paused.paused
    assert await lifecycle.pause("acme-tiny") == paused
    reading = await store.read(-1)
    assert reading is not None
    assert reading.changed[0].paused
    assert not (await lifecycle.resume("acme-tiny")).paused


async def _failed(lifecycle: Lifecycle, store: Store, failures: LoadFailures) -> Deployment:
    made = await lifecycle.create("", TINY)
    await store.set_failure(made.uid, 1, Failure("MODEL_LOAD_FAILED", "no ONNX file"))
    failures.record(made.newest.id, "a", LoadError("MODEL_LOAD_FAILED", "no ONNX file", transient=False), now=0.0)
    return made


async def test_deploying_a_failed_revision_again_tries_it_anew(
    lifecycle: Lifecycle, store: Store, failures: LoadFailures, desired: DesiredState
) -> None:
    made = await _failed(lifecycle, store, failures)
    again = await lifecycle.update("acme-tiny", "", same, resolve=True)
    assert again.newest.number == 1
    assert failures.get(made.newest.id) is None
    assert desired.find("acme-tiny").newest.failure is None


async def test_resuming_a_failed_deployment_tries_it_anew(
    lifecycle: Lifecycle, store: Store, failures: LoadFailures, desired: DesiredState
) -> None:
    await _failed(lifecycle, store, failures)
    await lifecycle.resume("acme-tiny")
    assert desired.find("acme-tiny").wanted()


async def test_a_deleted_deployment_is_gone_and_its_name_free(lifecycle: Lifecycle, desired: DesiredState) -> None:
    made = await lifecycle.create("", TINY)
    await lifecycle.delete("acme-tiny", made.etag)
    with pytest.raises(NotFound) as refused:
        desired.find("acme-tiny")
    assert refused.value.reason == "DEPLOYMENT_NOT_FOUND"
    assert (await lifecycle.create("", TINY)).uid != made.uid
