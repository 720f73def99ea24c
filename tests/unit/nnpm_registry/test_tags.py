"""Tags, and `latest`, which the registry moves."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from nnpm.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from nnpm_registry.packages import Packages
from nnpm_registry.records import Tag, Version
from nnpm_registry.tags import Tags
from nnpm_registry.versions import Versions

Publish = Callable[..., Awaitable[Version]]


def wanted(version: str = "1.0.0", tag: str = "champion", etag: str = "") -> Tag:
    return Tag("acme/tiny", tag, version, datetime.now(UTC), etag)


async def test_a_tag_is_made_moved_and_deleted(tags: Tags, versions: Versions, publish: Publish) -> None:
    await publish("1.0.0")
    await publish("1.1.0")
    made = await tags.set(wanted("1.0.0"), ())
    assert (await versions.resolve("acme/tiny", "champion"))[0].version == "1.0.0"
    moved = await tags.set(wanted("1.1.0", etag=made.etag), ("version",))
    assert moved.etag != made.etag
    assert (await versions.resolve("acme/tiny", "champion"))[0].version == "1.1.0"
    await tags.delete("acme/tiny", "champion")
    with pytest.raises(NotFound) as caught:
        await versions.resolve("acme/tiny", "champion")
    assert caught.value.reason == "TAG_NOT_FOUND"


async def test_a_tag_that_somebody_else_moved_is_not_moved(tags: Tags, publish: Publish) -> None:
    await publish("1.0.0")
    await publish("1.1.0")
    made = await tags.set(wanted("1.0.0"), ())
    await tags.set(wanted("1.1.0"), ())
    with pytest.raises(Aborted) as caught:
        await tags.set(wanted("1.0.0", etag=made.etag), ())
    assert caught.value.reason == "ETAG_MISMATCH"
    with pytest.raises(Aborted):
        await tags.set(wanted("1.0.0", tag="new", etag=made.etag), ())


async def test_setting_a_tag_to_what_it_names_changes_nothing(tags: Tags, publish: Publish) -> None:
    await publish()
    assert await tags.set(wanted(), ()) == await tags.set(wanted(), ())


async def test_latest_is_the_highest_release_that_is_not_yanked(
    packages: Packages, versions: Versions, publish: Publish
) -> None:
    async def latest() -> str:
        return (await packages.get("acme/tiny")).latest_version

    await publish("1.0.0-rc.1")
    assert await latest() == ""
    await publish("1.0.0")
    assert await latest() == "1.0.0"
    await publish("1.10.0")
    await publish("1.9.0")
    await publish("2.0.0-beta")
    assert await latest() == "1.10.0"
    await versions.yank("acme/tiny", "1.10.0", "")
    assert await latest() == "1.9.0"
    for version in ("1.9.0", "1.0.0"):
        await versions.yank("acme/tiny", version, "")
    assert await latest() == ""
    await versions.unyank("acme/tiny", "1.10.0")
    assert await latest() == "1.10.0"


async def test_latest_cannot_be_set_or_deleted(tags: Tags, publish: Publish) -> None:
    await publish()
    with pytest.raises(InvalidArgument) as moved:
        await tags.set(wanted(tag="latest"), ())
    with pytest.raises(InvalidArgument) as deleted:
        await tags.delete("acme/tiny", "latest")
    assert {moved.value.reason, deleted.value.reason} == {"TAG_RESERVED"}


@pytest.mark.parametrize("tag", ["1.0.0", "^1", "Champion", "", "1", "x", "a/b"])
async def test_what_cannot_be_a_tag_is_refused(tags: Tags, publish: Publish, tag: str) -> None:
    await publish()
    with pytest.raises(InvalidArgument) as caught:
        await tags.set(wanted(tag=tag), ())
    assert caught.value.reason == "INVALID_TAG"


async def test_a_tag_names_a_published_version_that_is_not_yanked(
    tags: Tags, versions: Versions, publish: Publish
) -> None:
    await publish()
    with pytest.raises(NotFound) as missing:
        await tags.set(wanted("2.0.0"), ())
    await versions.yank("acme/tiny", "1.0.0", "")
    with pytest.raises(FailedPrecondition) as yanked:
        await tags.set(wanted("1.0.0"), ())
    with pytest.raises(NotFound) as unknown:
        await tags.set(Tag("acme/none", "champion", "1.0.0", datetime.now(UTC), ""), ())
    assert missing.value.reason == "VERSION_NOT_FOUND"
    assert yanked.value.reason == "VERSION_YANKED"
    assert unknown.value.reason == "PACKAGE_NOT_FOUND"


async def test_a_mask_may_name_the_version_alone(tags: Tags, publish: Publish) -> None:
    await publish()
    with pytest.raises(InvalidArgument) as caught:
        await tags.set(wanted(), ("package",))
    assert caught.value.reason == "INVALID_FIELD_MASK"
    assert caught.value.violations


async def test_tags_are_listed_in_pages(tags: Tags, publish: Publish) -> None:
    await publish()
    for tag in ("b", "a", "c"):
        await tags.set(wanted(tag=tag), ())
    first, token = await tags.page("acme/tiny", 3, "")
    rest, end = await tags.page("acme/tiny", 3, token)
    assert [tag.tag for tag in (*first, *rest)] == ["a", "b", "c", "latest"]
    assert end == ""
