"""What is measured: a program that answers requests, seen from outside."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from benchmarks.counts import Counts
from benchmarks.load_run import Target
from benchmarks.models import Model, Tensor
from benchmarks.points import Point
from benchmarks.sample import Sample


class Contestant(Protocol):
    """One row of the tables. Nothing runs before `start`; `stop` may be called at any time."""

    @property
    def name(self) -> str:
        """Short, the same in tables, plots and `--peers`."""

    @property
    def settings(self) -> str:
        """Backend, versions and how it was tuned, for people."""

    def serves(self, point: Point) -> bool:
        """Whether it has anything to say about the point."""

    def start(self) -> None:
        """Returns when every model answers. Raises StartError."""

    def stop(self) -> None:
        """Ends every process that `start` made."""

    def check(self, point: Point) -> None:
        """Compares an answer with in-process ONNX Runtime's. Raises LoadError when it differs."""

    def measure(self, point: Point, requests: int) -> Sample:
        """One run of about that many requests. Raises LoadError unless all were answered well."""


class Server(Protocol):
    """A contestant behind a socket, as far as it differs from others."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> str: ...

    def serves(self, point: Point) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def target(self, point: Point) -> Target:
        """Where a generator finds the model of the point, and with which body."""

    def answer(self, model: Model, rows: Tensor) -> Tensor:
        """One call by a client that is no generator."""

    def counts(self, point: Point) -> Counts:
        """What the server itself has counted so far."""

    def processes(self) -> Mapping[str, Sequence[int]]:
        """Process ids by name: all that take processor time for a call."""
