"""The process of a class as the worker holds it: started, asked, and surely ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nnpm_worker import memory
from nnpm_worker.python_runtime import frames, layout
from nnpm_worker.python_runtime.area import Area
from nnpm_worker.python_runtime.frames import Garbled, Message
from nnpm_worker.python_runtime.last_words import LastWords

_INHERITED = (
    "PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
"""All that it sees of the worker's environment: no setting, and so no address and no secret."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_DYING_SECONDS = 1.0
_GLANCE_SECONDS = 0.005


class Died(Exception):
    """The process is no more. `in_time` is False when it was ended because it took too long."""

    def __init__(self, how: str, *, in_time: bool = True) -> None:
        super().__init__(how)
        self.in_time = in_time


@dataclass(frozen=True, slots=True)
class Start:
    """How a process is started.

    Attributes:
        package: whose it is, for people.
        folder: of the package.
        entry: the class.
        memory_bytes: of address space, and of any one file.
        threads: that numeric libraries may use; 0 = as they like.
    """

    package: str
    folder: Path
    entry: str
    memory_bytes: int
    threads: int


class ClassProcess:
    """A running process with the class in it. Used by one thread at a time."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._inputs = Area.create("nnpm-inputs")
        self._outputs = Area.create("nnpm-outputs")
        self._connection, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _spawn(start, theirs, self._inputs, self._outputs)
        except BaseException:
            self._let_go()
            raise
        assert self._process.stdout is not None  # noqa: S101 -- a pipe was asked for
        self._words = LastWords(os.dup(self._process.stdout.fileno()), start.package)
        self._process.stdout.close()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        # Only `end` reaps it: until then nobody else's process group can have its number.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    @property
    def memory_bytes(self) -> int:
        """What it has in memory now."""
        return memory.resident_bytes(self._process.pid)

    def load(self, seconds: float) -> Message:
        """Have the class imported and made; what it says of itself, or whose fault it is. Raises Died."""
        order = {"folder": str(self._start.folder), "entry": self._start.entry}
        return self._ask(order, time.monotonic() + seconds)

    def run(self, inputs: Mapping[str, NDArray[Any]], seconds: float) -> Message:
        """One run: the answer has `outputs`, which are arrays then, or a `fault`.

        Raises:
            Died: and nothing of the process is left.
            MemoryError: there is no room for the inputs.
            InvalidArgument: they cannot be carried.
        """
        deadline = time.monotonic() + seconds
        try:
            told = layout.lay(inputs, self._inputs)
        except OSError as error:
            raise MemoryError(str(error)) from error
        answer = self._ask({"run": told}, deadline)
        if "outputs" in answer:
            try:
                answer["outputs"] = layout.pick(
                    answer["outputs"], self._outputs, most_bytes=self._start.memory_bytes, copy=True
                )
            except Garbled as error:
                raise self._ended(f"answered what cannot be: {error}") from error
        return answer

    def end(self) -> str:
        """Kill it and whom it has started; what it printed last."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._let_go()
        return self._words.at_end(_DYING_SECONDS)

    def _ask(self, message: Mapping[str, Any], deadline: float) -> Message:
        try:
            self._connection.settimeout(max(deadline - time.monotonic(), 1e-6))
            frames.send(self._connection, message)
            return frames.receive(self._connection, deadline)
        except TimeoutError as error:
            raise self._ended("took too long and was ended", in_time=False) from error
        except OSError as error:
            raise self._ended(self._how()) from error
        except Garbled as error:
            raise self._ended(f"answered what cannot be: {error}") from error

    def _how(self) -> str:
        """What a process whose connection broke has died of."""
        latest = time.monotonic() + _DYING_SECONDS
        while self.alive:
            if time.monotonic() > latest:
                return "closed its connection and was ended"
            time.sleep(_GLANCE_SECONDS)
        self.end()
        status = self._process.returncode
        if status >= 0:
            return f"ended with exit code {status}"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return f"was ended by {name}"

    def _ended(self, how: str, *, in_time: bool = True) -> Died:
        words = self.end()
        return Died(f"{how}; it printed: {words}" if words else how, in_time=in_time)

    def _let_go(self) -> None:
        self._connection.close()
        self._inputs.close()
        self._outputs.close()


def _spawn(start: Start, theirs: socket.socket, inputs: Area, outputs: Area) -> "subprocess.Popen[bytes]":
    """In a session of its own: the terminal's signals do not reach it, and what it starts can be ended with it."""
    descriptors = (theirs.fileno(), inputs.descriptor, outputs.descriptor)
    command = [sys.executable, "-P", "-s", "-m", "nnpm_worker.python_runtime"]
    command += map(str, (os.getpid(), start.memory_bytes, *descriptors))
    return subprocess.Popen(  # noqa: S603 -- our own program; what it imports is not on its command line
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=descriptors,
        cwd="/",
        env=_environment(start.threads),
        start_new_session=True,
    )


def _environment(threads: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    if threads:
        kept |= dict.fromkeys(_THREADS, str(threads))
    # The package's folder holds what was published, and nothing else.
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
