"""Packages and namespaces: found, listed, searched and described."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from nnpm.errors import Aborted, AlreadyExists, InvalidArgument, NotFound
from nnpm.sql.database import Database
from nnpm_registry.namespaces import Namespaces
from nnpm_registry.packages import Packages
from nnpm_registry.records import Version

Publish = Callable[..., Awaitable[Version]]


async def names(packages: Packages, query: str) -> list[str]:
    return [package.name for package in (await packages.search(query, 0, ""))[0]]


@pytest.fixture
async def shelf(publish: Publish) -> None:
    await publish(name="acme/vision/resnet", description="Finds Cats", keywords=["image", "50%"])
    await publish(name="acme/tiny", description="a linear model")
    await publish(name="beta/resnet", keywords=["cats_and_dogs"])
    await publish(name="acme-labs/other")


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["acme-labs/other", "acme/tiny", "acme/vision/resnet", "beta/resnet"]),
        ("acme/", ["acme/tiny", "acme/vision/resnet"]),
        ("acme/vi", ["acme/vision/resnet"]),
        ("resnet", ["acme/vision/resnet", "beta/resnet"]),
        ("RESNET cats", ["acme/vision/resnet", "beta/resnet"]),
        ("linear", ["acme/tiny"]),
        ("image", ["acme/vision/resnet"]),
        ("resnet linear", []),
        ("%", ["acme/vision/resnet"]),
        ("s_a", ["beta/resnet"]),
        ("\\", []),
        ("'; DROP TABLE packages; --", []),
    ],
)
async def test_search_finds_every_word_anywhere_and_names_first(
    packages: Packages, query: str, found: list[str]
) -> None:
    assert await names(packages, query) == found


@pytest.mark.usefixtures("shelf")
async def test_names_that_begin_with_the_query_come_first(packages: Packages, publish: Publish) -> None:
    await publish(name="aaa/one", description="like beta")
    assert await names(packages, "beta") == ["beta/resnet", "aaa/one"]


@pytest.mark.usefixtures("shelf")
async def test_search_pages_through_everything_once(packages: Packages) -> None:
    found: list[str] = []
    token = ""
    for _ in range(4):
        page, token = await packages.search("e", 1, token)
        found += [package.name for package in page]
    assert sorted(found) == ["acme-labs/other", "acme/tiny", "acme/vision/resnet", "beta/resnet"]
    assert token == ""


@pytest.mark.usefixtures("shelf")
async def test_packages_are_listed_by_namespace(packages: Packages) -> None:
    async def listed(namespace: str) -> list[str]:
        return [package.name for package in (await packages.page(namespace, 0, ""))[0]]

    assert await listed("acme") == ["acme/tiny", "acme/vision/resnet"]
    assert await listed("acme/vision") == ["acme/vision/resnet"]
    assert await listed("nobody") == []
    with pytest.raises(InvalidArgument) as caught:
        await listed("Acme")
    assert caught.value.reason == "INVALID_NAMESPACE"


@pytest.mark.usefixtures("shelf")
async def test_lists_come_in_pages(packages: Packages) -> None:
    first, token = await packages.page("", 3, "")
    rest, end = await packages.page("", 3, token)
    assert (len(first), len(rest), end) == (3, 1, "")
    with pytest.raises(InvalidArgument) as size:
        await packages.page("", 1001, "")
    with pytest.raises(InvalidArgument) as negative:
        await packages.page("", -1, "")
    with pytest.raises(InvalidArgument) as wrong:
        await packages.search("", 0, "not a token")
    with pytest.raises(InvalidArgument) as foreign:
        await packages.search("", 0, token)
    assert {size.value.reason, negative.value.reason} == {"INVALID_PAGE_SIZE"}
    assert {wrong.value.reason, foreign.value.reason} == {"INVALID_PAGE_TOKEN"}


async def test_a_query_has_a_length(packages: Packages) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await packages.search("x" * 257, 0, "")
    assert caught.value.reason == "INVALID_QUERY"


@pytest.mark.usefixtures("shelf")
async def test_an_unknown_package_is_told_with_what_was_meant(packages: Packages) -> None:
    with pytest.raises(NotFound) as caught:
        await packages.get("gamma/resnet")
    assert caught.value.reason == "PACKAGE_NOT_FOUND"
    assert caught.value.hint == "did you mean acme/vision/resnet or beta/resnet?"


async def test_a_package_says_what_its_newest_version_says(packages: Packages, publish: Publish) -> None:
    await publish("1.0.0", description="one", keywords=["a"])
    await publish("1.1.0", description="two", homepage="https://example.org")
    package = await packages.get("acme/tiny")
    assert (package.description, package.keywords, package.homepage) == ("two", (), "https://example.org")
    assert package.latest_version == "1.1.0"


async def test_what_was_set_by_hand_stays(packages: Packages, publish: Publish) -> None:
    await publish("1.0.0", description="one", keywords=["a"])
    before = await packages.get("acme/tiny")
    changed = await packages.update(replace(before, description="mine"), ("description",))
    assert (changed.description, changed.keywords) == ("mine", ("a",))
    assert changed.etag != before.etag
    await publish("1.1.0", description="two", keywords=["b"])
    after = await packages.get("acme/tiny")
    assert (after.description, after.keywords) == ("mine", ("b",))
    assert await names(packages, "mine") == ["acme/tiny"]


async def test_an_empty_mask_sets_everything(packages: Packages, publish: Publish) -> None:
    await publish(description="one", keywords=["a"], homepage="https://example.org")
    before = await packages.get("acme/tiny")
    changed = await packages.update(replace(before, description="", keywords=("z",), homepage=""), ())
    assert (changed.description, changed.keywords, changed.homepage) == ("", ("z",), "")


async def test_wrong_updates_are_refused(packages: Packages, publish: Publish) -> None:
    await publish()
    package = await packages.get("acme/tiny")
    with pytest.raises(Aborted) as etag:
        await packages.update(replace(package, etag="old"), ())
    with pytest.raises(InvalidArgument) as mask:
        await packages.update(package, ("name",))
    with pytest.raises(InvalidArgument) as homepage:
        await packages.update(replace(package, homepage="javascript:alert(1)"), ())
    with pytest.raises(InvalidArgument) as keywords:
        await packages.update(replace(package, keywords=("k",) * 65), ())
    with pytest.raises(NotFound) as unknown:
        await packages.update(replace(package, name="acme/none"), ())
    assert etag.value.reason == "ETAG_MISMATCH"
    assert mask.value.reason == "INVALID_FIELD_MASK"
    assert {homepage.value.reason, keywords.value.reason} == {"INVALID_PACKAGE"}
    assert unknown.value.reason == "PACKAGE_NOT_FOUND"


async def test_publishing_makes_the_namespaces(database: Database, publish: Publish) -> None:
    await publish(name="acme/vision/resnet")
    found, _ = await Namespaces(database).page(0, "")
    assert [namespace.name for namespace in found] == ["acme", "acme/vision"]


async def test_a_namespace_is_made_once(database: Database) -> None:
    namespaces = Namespaces(database)
    made = await namespaces.create("acme/vision", "request")
    assert await namespaces.create("acme/vision", "request") == made
    with pytest.raises(AlreadyExists) as taken:
        await namespaces.create("acme/vision", "")
    with pytest.raises(AlreadyExists):
        await namespaces.create("acme", "request")
    with pytest.raises(InvalidArgument) as invalid:
        await namespaces.create("Acme", "")
    assert taken.value.reason == "NAMESPACE_TAKEN"
    assert invalid.value.reason == "INVALID_NAMESPACE"
    first, token = await namespaces.page(1, "")
    rest, end = await namespaces.page(1, token)
    assert ([each.name for each in (*first, *rest)], end) == (["acme", "acme/vision"], "")
