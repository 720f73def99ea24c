"""A thread of its own for each loaded model: a model is run, probed and closed by one thread, in order."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class ModelThread:
    """Runs functions one after the other. A daemon thread: a run that hangs does not keep the process from ending.

    (`ThreadPoolExecutor` joins its threads at exit, and so would wait for such a run for ever.)
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises. A caller that is cancelled does not stop it."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((function, future))
        return await future

    def close(self) -> None:
        """End the thread after what was given to it."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            function, future = work
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 -- handed on to whoever awaits it
                self._answer(future, _set_exception, error)
            else:
                self._answer(future, _set_result, result)
            # Or this frame would keep the last batch's tensors, and a closed model, alive.
            del work, function, future

    def _answer(
        self, future: asyncio.Future[Any], setter: Callable[[asyncio.Future[Any], Any], None], what: Any
    ) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(setter, future, what)


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
