"""A process for the supervisor to run: a gRPC server with health, and whatever misbehaviour a test asks for.

    python service.py ADDRESS [--refuse STATUS] [--once FILE] [--deaf] [--spawn] [--never-healthy]

It prints `serving ADDRESS` when it is up and `drained` when it stops in order. `--spawn` starts a child that sleeps and
prints `spawned PID`. `--deaf` ignores SIGTERM. `--once` starts if FILE isn't there, makes it, and ever after refuses.
"""

import asyncio
import signal
import sys
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio


def refuse(arguments: list[str]) -> None:
    """Exit, if that was asked for."""
    if "--refuse" in arguments:
        print("the reason it can't start", flush=True)
        sys.exit(int(arguments[arguments.index("--refuse") + 1]))
    if "--once" in arguments:
        try:
            Path(arguments[arguments.index("--once") + 1]).touch(exist_ok=False)
        except FileExistsError:
            sys.exit(7)


async def main(arguments: list[str]) -> None:
    if "--spawn" in arguments:
        child = await asyncio.create_subprocess_exec("sleep", "600")
        print(f"spawned {child.pid}", flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, (lambda: None) if "--deaf" in arguments else stop.set)
    server = grpc.aio.server()
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    healthy = "--never-healthy" not in arguments
    status = health_pb2.HealthCheckResponse.SERVING if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
    await health.set("", status)
    server.add_insecure_port(arguments[0])
    await server.start()
    print(f"serving {arguments[0]}", flush=True)
    await stop.wait()
    await server.stop(None)
    print("drained", flush=True)


if __name__ == "__main__":
    refuse(sys.argv)
    asyncio.run(main(sys.argv[1:]))
