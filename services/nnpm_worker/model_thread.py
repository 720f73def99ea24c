"""A thread of its own for each loaded model: a model is run, probed and closed by one thread at a time, in order."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

Done = Callable[[Any, BaseException | None], None]
"""Told what a function returned, or raised."""

_Work = tuple[Callable[[], Any], Done]


class ModelThread:
    """Runs functions one after the other. A daemon thread: a run that hangs does not keep the process from ending.

    (`ThreadPoolExecutor` joins its threads at exit, and so would wait for such a run for ever.)
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], Any], done: Done) -> None:
        """Run it after what was given before; `done` is called on the event loop."""
        self._work.put((function, done))

    async def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises. A caller that is cancelled does not stop it."""
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: T, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.submit(function, done)
        return await future

    def close(self) -> None:
        """End the thread after what was given to it."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            function, done = work
            try:
                result, failure = function(), None
            except BaseException as error:  # noqa: BLE001 -- handed on to whoever asked
                result, failure = None, error
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(done, result, failure)
            # Or this frame would keep the last batch's tensors, and a closed model, alive.
            del work, function, done, result, failure
