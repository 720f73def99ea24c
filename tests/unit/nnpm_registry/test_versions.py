"""Drafts, published versions, yanks and lists."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from nnpm.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from nnpm.sql.database import Database
from nnpm_registry.packages import Packages
from nnpm_registry.records import State, Version
from nnpm_registry.store import drafts
from nnpm_registry.store import versions as stored
from nnpm_registry.versions import Versions
from support.registry import manifest

Publish = Callable[..., Awaitable[Version]]
MANIFEST = manifest({"model.onnx": b"one"})
OTHER = manifest({"model.onnx": b"two"})


async def test_a_draft_is_seen_by_get_version_only(versions: Versions, packages: Packages) -> None:
    draft = await versions.create(MANIFEST.canonical(), "")
    assert (draft.state, draft.digest) == (State.DRAFT, MANIFEST.digest())
    assert (await versions.get("acme/tiny", "1.0.0")).state is State.DRAFT
    with pytest.raises(NotFound):
        await versions.page("acme/tiny", 0, "")
    assert (await packages.page("", 0, ""))[0] == []


async def test_the_same_manifest_again_is_the_same_draft(versions: Versions) -> None:
    first = await versions.create(MANIFEST.canonical(), "a")
    again = await versions.create(MANIFEST.canonical(), "a")
    other_request = await versions.create(MANIFEST.canonical(), "b")
    assert first == again == other_request


async def test_the_registry_makes_a_manifest_canonical(versions: Versions) -> None:
    spaced = MANIFEST.canonical().replace(b",", b" ,\n ")
    assert (await versions.create(spaced, "")).manifest == MANIFEST.canonical()


async def test_another_manifest_replaces_a_draft(versions: Versions, database: Database) -> None:
    await versions.create(MANIFEST.canonical(), "")
    replaced = await versions.create(OTHER.canonical(), "")
    assert replaced.digest == OTHER.digest()
    assert (await versions.get("acme/tiny", "1.0.0")).digest == OTHER.digest()
    ((namespace, referrer),) = await database.read(drafts.to_release, 10)
    assert namespace == "acme"
    assert referrer.startswith("acme/tiny@1.0.0/")


async def test_a_request_id_belongs_to_one_manifest(versions: Versions) -> None:
    await versions.create(MANIFEST.canonical(), "a")
    with pytest.raises(AlreadyExists) as caught:
        await versions.create(OTHER.canonical(), "a")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(InvalidArgument) as long:
        await versions.create(OTHER.canonical(), "a" * 65)
    assert long.value.reason == "INVALID_REQUEST_ID"


async def test_a_taken_version_is_refused_and_the_same_content_is_not(versions: Versions, publish: Publish) -> None:
    published = await publish()
    same = manifest({"model.onnx": b"model"})
    assert await versions.create(same.canonical(), "") == published
    with pytest.raises(AlreadyExists) as caught:
        await versions.create(OTHER.canonical(), "")
    assert caught.value.reason == "VERSION_TAKEN"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "tiny"}, "acme/tiny"),
        ({"name": "Acme/Tiny"}, "name"),
        ({"version": "1.0"}, "1.0.0"),
        ({"version": "v1.0.0"}, "version"),
        ({"license": "Apache"}, "license"),
        ({"format": 2}, "newer"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_a_wrong_manifest_is_refused_with_what_is_wrong(
    versions: Versions, change: dict[str, object], named: str
) -> None:
    wrong = json.loads(MANIFEST.canonical()) | change
    with pytest.raises(InvalidArgument) as caught:
        await versions.create(json.dumps(wrong).encode(), "")
    assert caught.value.reason == "INVALID_MANIFEST"
    assert named in caught.value.message


async def test_a_draft_can_be_deleted_and_drafted_again(versions: Versions) -> None:
    await versions.create(MANIFEST.canonical(), "")
    await versions.delete("acme/tiny", "1.0.0")
    with pytest.raises(NotFound) as caught:
        await versions.get("acme/tiny", "1.0.0")
    assert caught.value.reason == "VERSION_NOT_FOUND"
    with pytest.raises(NotFound):
        await versions.delete("acme/tiny", "1.0.0")
    await versions.create(OTHER.canonical(), "")


async def test_a_published_version_cannot_be_deleted(versions: Versions, publish: Publish) -> None:
    await publish()
    with pytest.raises(FailedPrecondition) as caught:
        await versions.delete("acme/tiny", "1.0.0")
    assert caught.value.reason == "VERSION_PUBLISHED"


async def test_a_draft_expires(database: Database) -> None:
    short = Versions(database, draft_seconds=0)
    await short.create(MANIFEST.canonical(), "")
    assert await database.write(drafts.expire, 10) == 1
    with pytest.raises(NotFound):
        await short.get("acme/tiny", "1.0.0")


async def test_a_draft_being_committed_neither_expires_nor_is_replaced_nor_deleted(
    database: Database, versions: Versions
) -> None:
    short = Versions(database, draft_seconds=0)
    await short.create(MANIFEST.canonical(), "")
    await database.write(drafts.claim, "acme/tiny", "1.0.0", MANIFEST.digest(), 60)
    assert await database.write(drafts.expire, 10) == 0
    with pytest.raises(FailedPrecondition) as replaced:
        await versions.create(OTHER.canonical(), "")
    with pytest.raises(FailedPrecondition) as deleted:
        await versions.delete("acme/tiny", "1.0.0")
    assert {replaced.value.reason, deleted.value.reason} == {"COMMIT_IN_PROGRESS"}


async def test_one_commit_at_a_time_and_a_dead_one_is_taken_over(database: Database, versions: Versions) -> None:
    await versions.create(MANIFEST.canonical(), "")
    claim = ("acme/tiny", "1.0.0", MANIFEST.digest())
    _, first, token = await database.write(drafts.claim, *claim, 60)
    found, second, _ = await database.write(drafts.claim, *claim, 60)
    assert first is not None
    assert second is None
    assert found.state is State.VALIDATING
    assert await database.write(drafts.claim_abandoned, 60) is None
    assert await database.write(drafts.renew, first, token, -1)
    taken = await database.write(drafts.claim_abandoned, 60)
    assert taken is not None
    assert taken[0].id == first.id
    assert not await database.write(drafts.renew, first, token, 60)


async def test_a_commit_that_lost_its_claim_publishes_nothing(database: Database, versions: Versions) -> None:
    await versions.create(MANIFEST.canonical(), "")
    _, draft, token = await database.write(drafts.claim, "acme/tiny", "1.0.0", MANIFEST.digest(), -1)
    await database.write(drafts.claim_abandoned, 60)
    assert draft is not None
    with pytest.raises(Aborted) as caught:
        await database.write(drafts.reject, draft, token, [])
    assert caught.value.reason == "COMMIT_LOST"
    assert (await versions.get("acme/tiny", "1.0.0")).state is State.VALIDATING


async def test_versions_are_listed_highest_first_in_pages(versions: Versions, publish: Publish) -> None:
    for version in ("1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1", "2.0.0-rc.11", "2.0.0-rc.2", "2.0.0"):
        await publish(version)
    listed: list[str] = []
    token = ""
    for _ in range(4):
        found, token = await versions.page("acme/tiny", 2, token)
        listed += [version.version for version in found]
    assert listed == ["2.0.0", "2.0.0-rc.11", "2.0.0-rc.2", "2.0.0-rc.1", "1.10.0", "1.9.0", "1.0.0"]
    assert token == ""


@pytest.mark.parametrize("token", ["?", "bm8tdmVyc2lvbg"])
async def test_a_page_token_of_elsewhere_is_refused(versions: Versions, publish: Publish, token: str) -> None:
    await publish()
    with pytest.raises(InvalidArgument) as caught:
        await versions.page("acme/tiny", 0, token)
    assert caught.value.reason == "INVALID_PAGE_TOKEN"


async def test_a_page_of_large_manifests_ends_early(database: Database, publish: Publish) -> None:
    for number in range(5):
        await publish(f"1.{number}.0", description="x" * 3000)
    found = await database.read(stored.page, "acme/tiny", None, 1000, most_bytes=10_000)
    assert [version.version for version in found] == ["1.4.0", "1.3.0"]
    one = await database.read(stored.page, "acme/tiny", None, 1000, most_bytes=10)
    assert len(one) == 1


async def test_a_yanked_version_is_kept_for_who_names_it_and_chosen_by_nothing(
    versions: Versions, publish: Publish
) -> None:
    await publish("1.0.0")
    await publish("1.1.0")
    yanked = await versions.yank("acme/tiny", "1.1.0", "answers wrongly")
    assert (yanked.yanked, yanked.yank_reason) == (True, "answers wrongly")
    assert (await versions.resolve("acme/tiny", "^1"))[0].version == "1.0.0"
    assert (await versions.resolve("acme/tiny", ""))[0].version == "1.0.0"
    assert (await versions.get("acme/tiny", "1.1.0")).digest == yanked.digest
    assert [version.version for version in (await versions.page("acme/tiny", 0, ""))[0]] == ["1.1.0", "1.0.0"]
    back = await versions.unyank("acme/tiny", "1.1.0")
    assert (back.yanked, back.yank_reason) == (False, "")
    assert (await versions.resolve("acme/tiny", ""))[0].version == "1.1.0"


async def test_yanking_what_is_not_there_or_for_an_endless_reason_is_refused(
    versions: Versions, publish: Publish
) -> None:
    await publish()
    with pytest.raises(NotFound) as missing:
        await versions.yank("acme/tiny", "9.0.0", "")
    with pytest.raises(InvalidArgument) as long:
        await versions.yank("acme/tiny", "1.0.0", "x" * 1001)
    assert (missing.value.reason, long.value.reason) == ("VERSION_NOT_FOUND", "INVALID_YANK_REASON")


async def test_unknown_names_are_told_apart_from_wrong_ones(versions: Versions) -> None:
    with pytest.raises(NotFound) as unknown:
        await versions.resolve("acme/none", "^1")
    with pytest.raises(InvalidArgument) as bare:
        await versions.resolve("tiny", "^1")
    with pytest.raises(InvalidArgument) as selector:
        await versions.resolve("acme/tiny", "??")
    with pytest.raises(InvalidArgument) as version:
        await versions.get("acme/tiny", "1")
    assert unknown.value.reason == "PACKAGE_NOT_FOUND"
    assert bare.value.reason == "INVALID_PACKAGE_NAME"
    assert "acme/tiny" in bare.value.hint
    assert selector.value.reason == "INVALID_SELECTOR"
    assert version.value.reason == "INVALID_VERSION"


async def test_many_drafts_of_one_version_at_once_end_with_one(versions: Versions) -> None:
    wanted = [manifest({"model.onnx": str(number).encode()}).canonical() for number in range(20)]
    await asyncio.gather(*(versions.create(each, "") for each in wanted))
    assert (await versions.get("acme/tiny", "1.0.0")).manifest in wanted


@pytest.mark.parametrize(("description", "fine"), [("a\0b", False), ("a\\u0000b", True), ("a\\\0b", False)])
async def test_no_text_holds_a_nul_character(versions: Versions, description: str, fine: bool) -> None:
    wanted = manifest({"model.onnx": b"model"}, description=description).canonical()
    if fine:
        await versions.create(wanted, "")
        return
    with pytest.raises(InvalidArgument) as refused:
        await versions.create(wanted, "")
    assert refused.value.reason == "INVALID_MANIFEST"
