"""One process of the mesh under chaos: started through the guard, so that it never outlives this program."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnpm.mesh.child import GUARD


class Member:
    """A process that may die. Start it from the main thread: its life is tied to that.

    Attributes:
        wanted: whether it shall run: who finds it dead then starts it again.
    """

    def __init__(self, name: str, command: Sequence[object], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self.wanted = False
        self.frozen = False
        self._command = [str(part) for part in command]
        self._environment = dict(environment)
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last; 0 before the first start."""
        return self._popen.pid if self._popen else 0

    @property
    def alive(self) -> bool:
        """Whether it runs, frozen or not."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of a process that has ended; negative for a signal."""
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Start it, or start it again."""
        self.wanted, self.frozen = True, False
        guarded = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), "--", *self._command]
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        self._signal(signal.SIGCONT)

    def reap(self) -> None:
        """Kill it and what it started, and wait for its end."""
        self.wanted = False
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(10)

    def wait(self) -> None:
        """Until it has ended."""
        if self._popen is not None:
            self._popen.wait(10)

    def log_end(self, size: int = 2000) -> str:
        """The last of what it wrote."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def _signal(self, number: signal.Signals) -> None:
        if self.alive and self._popen is not None:
            self._popen.send_signal(number)
