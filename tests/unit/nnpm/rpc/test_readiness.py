"""Health follows what a service depends on."""

import asyncio
import shutil
from pathlib import Path

from structlog.testing import capture_logs

from nnpm.errors import Unavailable
from nnpm.rpc.readiness import Readiness
from nnpm.sql.database import Database
from support.waiting import eventually


async def test_health_turns_off_while_the_database_is_out_of_reach(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    database = Database("registry", f"sqlite:///{folder / 'registry.db'}", tmp_path)
    shutil.rmtree(folder)
    told: list[bool] = []
    stop = asyncio.Event()

    async def tell(ready: bool) -> None:
        told.append(ready)

    watching = asyncio.create_task(Readiness(database.check).watch(stop, tell))
    await eventually(lambda: told == [False])
    folder.mkdir()
    await eventually(lambda: told == [False, True])
    stop.set()
    async with asyncio.timeout(10):
        await watching
    database.close()


async def test_a_trouble_that_lasts_is_logged_once() -> None:
    asked = 0

    async def check() -> None:
        nonlocal asked
        asked += 1
        if asked <= 2:
            raise Unavailable("STORE_UNAVAILABLE", "the store does not answer")

    stop = asyncio.Event()
    with capture_logs() as lines:
        async with asyncio.timeout(20):
            await Readiness(check).wait(stop)
    assert asked == 3
    assert [line["why"] for line in lines] == ["the store does not answer"]
