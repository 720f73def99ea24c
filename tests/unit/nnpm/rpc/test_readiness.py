"""Health follows what a service depends on."""

import asyncio
import shutil
from pathlib import Path

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
