"""Processes that a test owns: started in a group of their own, logged to a file, surely gone at the end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.waiting import wait_until


class Process:
    """A running program. `log` is where its stdout and stderr go."""

    def __init__(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._command = [str(part) for part in command]
        self._environment = dict(environment or {})
        self._popen: subprocess.Popen[bytes] | None = None

    @classmethod
    def service(cls, module: str, log: Path, environment: Mapping[str, str]) -> "Process":
        """`python -m module`, with NNPM_* from `environment` alone."""
        return cls([sys.executable, "-m", module], log, environment)

    def start(self) -> "Process":
        """Start, or start again after an end; the log is appended to."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NNPM_")}
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=inherited | self._environment,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._running.poll()

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL to the process alone, as a crash would; its children are left to themselves."""
        self._running.kill()
        self._running.wait(10)

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    def wait(self, deadline: float = 30.0) -> int:
        """Its exit code, once it ends by itself."""
        return self._running.wait(deadline)

    def stop(self, deadline: float = 15.0) -> int:
        """SIGTERM, then the exit code. AssertionError when it has not ended in `deadline` seconds."""
        process = self._running
        if process.poll() is None:
            process.terminate()
        try:
            return process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill_group()
            raise AssertionError(
                f"{self._command} still ran {deadline} s after SIGTERM:\n{self.output[-4000:]}"
            ) from None

    def kill_group(self) -> None:
        """SIGKILL to the process and to what it started, as far as it stayed in its session."""
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(10)

    def __enter__(self) -> "Process":
        return self if self._popen else self.start()

    def __exit__(self, *details: object) -> None:
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self._popen.terminate()  # so that coverage is written
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(15)
        self.kill_group()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        if self._popen is None:
            raise AssertionError(f"{self._command} was not started")
        return self._popen


class ProcessEndedError(BaseException):
    """A process that a test waits for has ended. Not an Exception, so that no wait goes on over it."""


def wait_healthy(address: str, service: str = "", *, process: Process | None = None, deadline: float = 30.0) -> None:
    """Wait until grpc.health.v1 at `address` says SERVING; fails at once when `process` has ended."""
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
    with grpc.insecure_channel(address, options=options) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def serving() -> bool:
            if process is not None and process.returncode is not None:
                raise ProcessEndedError(f"exit code {process.returncode}:\n{process.output[-4000:]}")
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=0.5, wait_for_ready=True)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        wait_until(serving, deadline, what=f"{service!r} at {address} is SERVING")


def resident_bytes(pid: int) -> int:
    """Anonymous resident memory of a process: what it needs, without the file pages that it maps."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no RssAnon in /proc/{pid}/status")
