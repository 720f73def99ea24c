"""The event stream: each event once, in order, from a token on."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from nnpm.errors import InvalidArgument, OutOfRange, Unavailable
from nnpm.sql.database import Database
from nnpm_registry.records import Event, EventType, Tag, Version
from nnpm_registry.store import events
from nnpm_registry.tags import Tags
from nnpm_registry.versions import Versions
from nnpm_registry.watch import Watch, resume_token

Publish = Callable[..., Awaitable[Version]]


async def read(database: Database, token: str, count: int, package: str = "") -> list[tuple[Event, str]]:
    """The next `count` events behind a token."""
    found: list[tuple[Event, str]] = []
    async with asyncio.timeout(10):
        async for event, behind in Watch(database, asyncio.Event()).follow(token, package):
            if event is not None:
                found.append((event, behind))
            if len(found) == count:
                break
    return found


async def test_everything_that_happens_is_an_event(
    database: Database, publish: Publish, versions: Versions, tags: Tags
) -> None:
    await publish()
    await tags.set(Tag("acme/tiny", "champion", "1.0.0", datetime.now(UTC), ""), ())
    await tags.delete("acme/tiny", "champion")
    await versions.yank("acme/tiny", "1.0.0", "")
    await versions.yank("acme/tiny", "1.0.0", "again")
    await versions.unyank("acme/tiny", "1.0.0")
    found = [event for event, _ in await read(database, resume_token(0), 8)]
    assert [(event.type, event.tag) for event in found] == [
        (EventType.VERSION_COMMITTED, ""),
        (EventType.TAG_MOVED, "latest"),
        (EventType.TAG_MOVED, "champion"),
        (EventType.TAG_DELETED, "champion"),
        (EventType.VERSION_YANKED, ""),
        (EventType.TAG_DELETED, "latest"),
        (EventType.VERSION_UNYANKED, ""),
        (EventType.TAG_MOVED, "latest"),
    ]
    assert {(event.package, event.version) for event in found} == {("acme/tiny", "1.0.0")}
    assert [event.sequence for event in found] == list(range(1, 9))


async def test_a_watch_goes_on_where_its_token_stands(database: Database, publish: Publish) -> None:
    await publish("1.0.0")
    await publish("1.1.0")
    ((first, token),) = await read(database, resume_token(0), 1)
    rest = await read(database, token, 3)
    assert [event.sequence for event, _ in ((first, token), *rest)] == [1, 2, 3, 4]


async def test_an_empty_token_is_now_and_is_answered_at_once(database: Database, publish: Publish) -> None:
    await publish("1.0.0")
    watch = Watch(database, asyncio.Event()).follow("", "")
    event, token = await anext(watch)
    assert event is None
    await publish("1.1.0")
    async with asyncio.timeout(10):
        event, _ = await anext(watch)
    assert event is not None
    assert event.version == "1.1.0"
    await watch.aclose()
    assert [event.version for event, _ in await read(database, token, 2)] == ["1.1.0", "1.1.0"]


async def test_a_watch_of_one_package_sees_no_other(database: Database, publish: Publish) -> None:
    await publish(name="acme/other")
    await publish(name="acme/tiny")
    found = await read(database, resume_token(0), 2, "acme/tiny")
    assert {event.package for event, _ in found} == {"acme/tiny"}


@pytest.mark.parametrize("token", ["x", "!", "MTp4", "Mjox", "MTotMQ"])
async def test_a_token_of_elsewhere_is_refused(database: Database, token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await read(database, token, 1)
    assert caught.value.reason == "INVALID_RESUME_TOKEN"


async def test_a_token_of_a_later_registry_is_refused(database: Database) -> None:
    with pytest.raises(OutOfRange) as caught:
        await read(database, resume_token(5), 1)
    assert caught.value.reason == "UNKNOWN_RESUME_TOKEN"


async def test_a_watch_ends_when_the_service_stops(database: Database) -> None:
    stop = asyncio.Event()
    watch = Watch(database, stop).follow("", "")
    await anext(watch)
    stop.set()
    with pytest.raises(Unavailable) as caught:
        await anext(watch)
    assert caught.value.reason == "SERVER_STOPPING"


async def test_writers_side_by_side_lose_and_reorder_nothing(database: Database) -> None:
    async def write(writer: int) -> None:
        for number in range(10):
            await database.write(events.append, EventType.TAG_MOVED, f"acme/{writer}", f"{number}", "t")

    reading = asyncio.create_task(read(database, resume_token(0), 50))
    await asyncio.gather(*map(write, range(5)))
    found = [event for event, _ in await reading]
    assert [event.sequence for event in found] == list(range(1, 51))
    for writer in range(5):
        numbers = [event.version for event in found if event.package == f"acme/{writer}"]
        assert numbers == [str(number) for number in range(10)]
