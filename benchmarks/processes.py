"""The programs that a run starts: each ends when the run does, however that ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nnpm.mesh.child import GUARD

STOP_SECONDS = 20.0
"""For an orderly end, before a program is killed."""


class StartError(Exception):
    """A program did not start, or did not get ready; the message says why."""


class Program:
    """A program in the background, in a process group of its own. It is killed when this process dies.

    Args:
        log: where its output goes.
    """

    def __init__(
        self, command: Sequence[object], log: Path, environment: Mapping[str, str], folder: Path | None = None
    ) -> None:
        self.log = log
        guarded = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), "--", *map(str, command)]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        """Returns when `ready()` does not raise and is true; StartError with the log's end when it never is."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._popen.poll() is not None:
                raise StartError(f"{what} ended with {self._popen.returncode}:\n{self.log_end()}")
            if ready():
                return
            time.sleep(0.1)
        raise StartError(f"{what} is not ready after {seconds:g} s:\n{self.log_end()}")

    def log_end(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def stop(self) -> None:
        """Ask it to end, then kill it and all that it left in its process group."""
        if self._popen.poll() is None:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(STOP_SECONDS)


def plain_environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of a mesh that may run elsewhere, and with one thread per library."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NNPM_")}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | more
