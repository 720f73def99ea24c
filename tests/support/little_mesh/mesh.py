"""A mesh of little services, as `nnpm up` would run it: `python mesh.py DATA [NAME=ARGUMENT,ARGUMENT...]`.

It has a real Redis and the services `one`, `two` and `three`, the last in a tier of its own; `two=--deaf` gives one of
them an argument. It prints `ready` when all are healthy; an error is its reason and message on one line.
"""

import asyncio
import os
import sys
from pathlib import Path

from nnpm.errors import NnpmError
from nnpm.mesh.data_folder import DataFolder, FolderLock
from nnpm.mesh.log_output import LogConsole
from nnpm.mesh.plan import MeshPlan, ProcessPlan
from nnpm.mesh.redis_server import find_redis_server
from nnpm.mesh.run_folder import run_folder
from nnpm.mesh.state import Addresses
from nnpm.mesh.up import supervise

LITTLE_SERVICE = Path(__file__).with_name("service.py")


def main(data: Path, wishes: dict[str, list[str]], timeout: float) -> None:
    folder = DataFolder.at(data)
    lock = FolderLock.take(folder)
    folder.prepare()
    run = run_folder(folder.root)

    def service(name: str) -> ProcessPlan:
        address = f"unix:{run / name}.sock"
        command = (sys.executable, str(LITTLE_SERVICE), address, *wishes.get(name, []))
        return ProcessPlan(name, command, dict(os.environ), address, (address,), grace=1.0)

    redis_url = f"unix://{run / 'redis.sock'}"
    command = find_redis_server().command(folder.redis, run / "redis.sock")
    redis = ProcessPlan("redis", command, dict(os.environ), redis_url, (redis_url,))
    addresses = Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", f"unix:{run / 'traces.sock'}")
    plan = MeshPlan(addresses, ((redis,), (service("one"), service("two")), (service("three"),)))
    lock.describe(addresses.scheduler)
    console = LogConsole(sys.stdout, ["redis", "one", "two", "three", "mesh"])
    asyncio.run(supervise(plan, folder, console, lambda _: print("ready", flush=True), timeout))
    print("over", flush=True)


if __name__ == "__main__":
    timeout = float(os.environ.get("LITTLE_MESH_TIMEOUT", "20"))
    wishes = {name: wish.split(",") for name, _, wish in (word.partition("=") for word in sys.argv[2:])}
    try:
        main(Path(sys.argv[1]), wishes, timeout)
    except NnpmError as error:
        print(error.reason, error.message, flush=True)
        sys.exit(1)
