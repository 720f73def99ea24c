"""A TCP proxy on loopback that counts bytes: what a client really sends, and what it is sent."""

import asyncio
import contextlib
import threading

_BLOCK = 1 << 18


class CountingProxy:
    """Stands before `target` (host:port). Runs in a thread of its own; `address` is what clients dial."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0
        """Bytes towards the server, HTTP/2 frames and headers included."""
        self.received = 0
        """Bytes from the server."""
        self.address = ""

    def __enter__(self) -> "CountingProxy":
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *details: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2 * _BLOCK))
        port = server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_connection(self._host, self._port, limit=2 * _BLOCK)
            await asyncio.gather(
                self._pump(reader, server_writer, towards=True), self._pump(server_reader, writer, towards=False)
            )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, towards: bool) -> None:
        try:
            while block := await reader.read(_BLOCK):
                if towards:
                    self.sent += len(block)
                else:
                    self.received += len(block)
                writer.write(block)
                await writer.drain()
        except OSError:
            pass  # either side may vanish at any time: that is what the tests do
        finally:
            writer.close()
