"""Where the lines of the mesh's processes go: a rotated file each, and the supervisor's terminal, with a prefix."""

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TextIO

FILE_LIMIT = 10 * 1024 * 1024
"""Bytes of NAME.log before it becomes NAME.log.1."""

KEPT = 3
"""How many full files are kept beside the current one."""

COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
LEVEL_COLOURS: Mapping[str, str] = {"warning": "33", "error": "31", "critical": "31;1"}
SHOWN_ELSEWHERE = frozenset({"timestamp", "level", "event", "service", "logger"})


class RotatedLog:
    """An append-only log file that is set aside when it is full, and at most `KEPT` times remembered."""

    def __init__(self, path: Path, limit: int = FILE_LIMIT, kept: int = KEPT) -> None:
        self._path = path
        self._limit = limit
        self._kept = kept
        self._file: BinaryIO = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, line: str) -> None:
        """Append a line. When the disk is full the line is lost: services must not stop over their log."""
        with contextlib.suppress(OSError):
            if self._file.tell() >= self._limit:
                self._rotate()
            self._file.write(line.encode() + b"\n")

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._kept - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        self._file = self._path.open("ab", buffering=0)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class LogConsole:
    """Prints lines with the name of who said them, in that process's colour if the stream is a terminal."""

    def __init__(self, stream: TextIO, names: Sequence[str]) -> None:
        self._stream = stream
        self._colours = stream.isatty() and "NO_COLOR" not in os.environ
        self._width = max((len(name) for name in names), default=0)
        self._colour = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}

    def show(self, name: str, line: str) -> None:
        """Print one raw line of the process `name`. A terminal that went away stops nothing."""
        prefix = f"{name:<{self._width}} | "
        if self._colours:
            prefix = f"\x1b[{self._colour[name]}m{prefix}\x1b[0m"
        try:
            self._stream.write(f"{prefix}{readable(line, colours=self._colours)}\n")
            self._stream.flush()
        except OSError:
            return


def readable(line: str, *, colours: bool) -> str:
    """A line for a person: one that is a JSON object with an `event` as time, level, event and fields; others as is."""
    if not line.startswith("{"):
        return line
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    if "event" not in fields:
        return line
    level = str(fields.get("level", "info"))
    words = [_clock(str(fields.get("timestamp", ""))), f"{level:<7}", str(fields["event"])]
    if colours and level in LEVEL_COLOURS:
        words[1] = f"\x1b[{LEVEL_COLOURS[level]}m{words[1]}\x1b[0m"
    words += [f"{name}={_value(value)}" for name, value in fields.items() if name not in SHOWN_ELSEWHERE]
    return " ".join(word for word in words if word)


def as_log_line(level: str, event: str, **fields: object) -> str:
    """A line of the supervisor's own, in the form of the services' lines."""
    now = datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="milliseconds")
    return json.dumps({"timestamp": now, "level": level, "event": event, "service": "nnpm-mesh", **fields})


def _clock(timestamp: str) -> str:
    try:
        return datetime.fromisoformat(timestamp).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return timestamp


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if isinstance(value, str) and (" " in text or not text) else text
