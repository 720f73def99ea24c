"""What a class's process printed: to the worker's log, and the end of it for whoever asks what it died of."""

import os
import threading
from collections import deque

from nnpm.telemetry.logs import get_logger

_KEPT = 20  # lines
_MOST_LINE = 2_000  # bytes

_log = get_logger("python")


class LastWords:
    """Reads a pipe to its end, in a thread: a process whose pipe is full would wait for ever.

    Args:
        descriptor: of the pipe; closed at its end.
        package: whose process it is, for the log.
    """

    def __init__(self, descriptor: int, package: str) -> None:
        self._descriptor = descriptor
        self._package = package
        self._kept: deque[str] = deque(maxlen=_KEPT)
        self._thread = threading.Thread(target=self._read, name=f"prints-{package}", daemon=True)
        self._thread.start()

    def at_end(self, seconds: float) -> str:
        """The last lines, once the pipe is closed, or after so many seconds: whom it has started may have it open."""
        self._thread.join(seconds)
        return "\n".join(self._kept)

    def _read(self) -> None:
        with os.fdopen(self._descriptor, "rb") as pipe:
            while line := pipe.readline(_MOST_LINE):
                text = line.decode(errors="replace").rstrip()
                if text:
                    self._kept.append(text)
                    _log.debug("a class prints", package=self._package, line=text)
