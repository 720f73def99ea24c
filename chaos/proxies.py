"""Networks of TCP proxies on loopback, on the event loop of this program: they need no rights, and no kernel's help."""

import asyncio
import contextlib
from collections.abc import Sequence

from chaos.network import Switch

HOST = "127.0.0.1"
_BLOCK = 1 << 16


class Proxies:
    """Every process is on loopback; one proxy stands before Redis for each, one before each scheduler's workers."""

    kind = "proxies on loopback"
    can_slow = True

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self._proxies: list[Proxy] = []

    async def open(self, members: Sequence[str]) -> None:
        """There is nothing to do."""

    async def close(self) -> None:
        """Break every connection."""
        for proxy in self._proxies:
            await proxy.close()

    def inside(self, member: str) -> tuple[str, ...]:
        """All stand in one place."""
        del member
        return ()

    def host(self, member: str, switch: Switch) -> str:
        """Loopback."""
        del member, switch
        return HOST

    async def to_redis(self, member: str, port: int) -> "Proxy":
        """A proxy before Redis."""
        del member
        return await self._start(port)

    def to_schedulers(self, worker: str) -> None:
        """A scheduler has one address for all workers, so that there is nothing before one of them."""
        del worker

    async def to_mesh(self, scheduler: str, port: int) -> "Proxy":
        """A proxy before a scheduler."""
        del scheduler
        return await self._start(port)

    async def _start(self, port: int) -> "Proxy":
        proxy = Proxy(port)
        await proxy.start()
        self._proxies.append(proxy)
        return proxy


class Proxy:
    """Passes on what comes to `address` to a port.

    Cut, it keeps connections open and passes nothing on, as a network does that has lost its way; nobody is told.
    """

    def __init__(self, port: int) -> None:
        self.address = ""
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._delay = 0.0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, 0, limit=2 * _BLOCK)
        self.address = f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Break every connection and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def cut(self) -> None:
        """Pass nothing on."""
        self._open.clear()

    async def slow(self, seconds: float) -> None:
        """Take so long for each piece of data, each way."""
        self._delay = seconds

    async def heal(self, *, broken: bool = False) -> None:
        """As before; the connections are `broken` now, or pass on what was held up."""
        self._delay = 0.0
        self._open.set()
        if broken:
            for task in list(self._connections):
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        try:
            await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side may vanish, and `heal` and `close` break connections: that is all that a link does
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        to_reader, to_writer = await asyncio.open_connection(HOST, self._port, limit=2 * _BLOCK)
        ways = [
            asyncio.ensure_future(self._pump(reader, to_writer)),
            asyncio.ensure_future(self._pump(to_reader, writer)),
        ]
        try:
            # A half-closed connection is a closed one to all that speak here.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while block := await reader.read(_BLOCK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._open.wait()
                writer.write(block)
                await writer.drain()
