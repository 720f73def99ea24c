"""Stands in a network of `chaos`, sends bytes to and fro through one of its links, and prints how that went.

    python network_probe.py namespaces|proxies

Exits with 3 and the reason where network namespaces are not allowed.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from chaos import namespaces
from chaos.namespaces import Namespaces
from chaos.network import Network
from chaos.proxies import Proxies

PATIENCE = 1.0
LARGE = 64 * 1024
ECHO = """
import socket, sys
listening = socket.create_server((sys.argv[1], 0))
print(listening.getsockname()[1], flush=True)
connection, _ = listening.accept()
while block := connection.recv(65536):
    connection.sendall(block)
"""
CALLER = """
import socket, sys, time
host, _, port = sys.argv[1].rpartition(":")
connection = socket.create_connection((host, int(port)), timeout=10)
for line in sys.stdin:
    size = missing = int(line)
    begin = time.monotonic()
    connection.sendall(bytes(size))
    while missing:
        missing -= len(connection.recv(65536))
    print(time.monotonic() - begin, flush=True)
"""


def main() -> None:
    """Prints how long an echo took: open, slow, cut (none within a second), and healed."""
    asked = sys.argv[1]
    if asked == "namespaces" and (why := namespaces.enter()):
        print(why)
        sys.exit(3)
    print(json.dumps(asyncio.run(probe(Namespaces if asked == "namespaces" else Proxies))))


async def probe(made: Callable[[], Network]) -> dict[str, float | None]:
    """In the second of two networks of a kind: one can follow another, as with several seeds."""
    first, network = made(), made()
    await first.open(["redis", "worker-0"])
    await first.close()
    await network.open(["redis", "worker-0"])
    found: dict[str, float | None] = {}
    server = await start(network.inside("redis"), ECHO, network.host("redis", "queue"))
    port = int(await line_of(server, 10))
    link = await network.to_redis("worker-0", port)
    caller = await start(network.inside("worker-0"), CALLER, link.address)
    try:
        await echo(caller)
        found["open"] = await echo(caller)
        await link.slow(0.1)
        found["slow"] = await echo(caller)
        await link.heal()
        await link.cut()
        found["cut"] = await echo(caller)
        await link.heal()
        found["healed"] = float(await line_of(caller, 20))
        return found
    finally:
        for process in (server, caller):
            process.kill()
            await process.wait()
        await network.close()


async def start(inside: Sequence[str], program: str, argument: str) -> Process:
    """A Python program in a member's place."""
    return await asyncio.create_subprocess_exec(
        *inside, sys.executable, "-c", program, argument, stdin=PIPE, stdout=PIPE
    )


async def echo(caller: Process) -> float | None:
    """Seconds that one took; None if it was not there within a second."""
    assert caller.stdin
    caller.stdin.write(f"{LARGE}\n".encode())
    try:
        return float(await line_of(caller, PATIENCE))
    except TimeoutError:
        return None


async def line_of(process: Process, seconds: float) -> bytes:
    """The next line of its output. Raises TimeoutError."""
    assert process.stdout
    async with asyncio.timeout(seconds):
        return await process.stdout.readline()


if __name__ == "__main__":
    main()
