"""Reads the log files of a mesh: the last lines, and what comes after them."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from nnpm.errors import NotFound
from nnpm.mesh.data_folder import DataFolder

POLL = 0.2
"""Seconds between two looks at files that are followed."""

TAIL_BLOCK = 64 * 1024
REDIS_TIME = re.compile(r"\d+:\w+ (\d{1,2} \w{3} \d{4} \d{2}:\d{2}:\d{2}\.\d{3})")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the process `name`, as it was written."""

    name: str
    text: str


def log_names(folder: DataFolder) -> tuple[str, ...]:
    """The processes that have a log file, in alphabetical order."""
    return tuple(sorted(path.stem for path in folder.logs.glob("*.log")))


class LogReader:
    """The logs of the named processes, from `count` lines before their present end on.

    Raises:
        NotFound: LOG_NOT_FOUND when one of them has none, or nobody has.
    """

    def __init__(self, folder: DataFolder, names: Sequence[str], count: int) -> None:
        known = log_names(folder)
        if not known:
            raise NotFound(
                "LOG_NOT_FOUND",
                f"there are no logs in {folder.root}: no mesh has run there",
                hint="start one with `nnpm up`, or name another folder with --data",
            )
        for name in names:
            if name not in known:
                raise NotFound(
                    "LOG_NOT_FOUND",
                    f"there is no log of {name!r} in {folder.root}",
                    hint=f"there are logs of {', '.join(known)}",
                )
        self._count = count
        self._tails = [_Tail(name, folder.log_file(name)) for name in names]

    def last(self) -> Sequence[LogLine]:
        """The last `count` lines of all files together, in the order of their time stamps."""
        stamped = [entry for tail in self._tails for entry in _stamped(tail.name, tail.last(self._count))]
        stamped.sort(key=lambda entry: entry[0])
        return [line for _, line in stamped][-self._count :] if self._count else []

    def follow(self) -> Iterator[LogLine]:
        """The lines that come after those of `last`, for ever; files that are set aside are read on in the new one."""
        while True:
            found = [LogLine(tail.name, text) for tail in self._tails for text in tail.more()]
            yield from found
            if not found:
                time.sleep(POLL)


class _Tail:
    """One file, read on from its end."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._file: BinaryIO = path.open("rb")
        self._rest = b""

    def last(self, count: int) -> Sequence[str]:
        """The last lines; reading goes on behind them."""
        end = self._file.seek(0, 2)
        start, found = end, b""
        while start > 0 and found.count(b"\n") <= count:
            start = max(0, start - TAIL_BLOCK)
            self._file.seek(start)
            found = self._file.read(end - start)
        self._file.seek(end)
        return found.decode(errors="replace").splitlines()[-count:] if count else []

    def more(self) -> Iterator[str]:
        """What was written since."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
        if not lines and self._set_aside():
            self._file.close()
            self._file = self._path.open("rb")

    def _set_aside(self) -> bool:
        try:
            return not self._path.samefile(f"/dev/fd/{self._file.fileno()}")
        except FileNotFoundError:  # between two files
            return False


def _stamped(name: str, lines: Sequence[str]) -> Iterator[tuple[datetime, LogLine]]:
    """Each line with its time; one that has none has that of the line before."""
    latest = datetime.min.replace(tzinfo=UTC)
    for text in lines:
        latest = _time_of(text) or latest
        yield latest, LogLine(name, text)


def _time_of(line: str) -> datetime | None:
    try:
        if line.startswith("{"):
            return datetime.fromisoformat(json.loads(line)["timestamp"]).astimezone()
        if match := REDIS_TIME.match(line):
            return datetime.strptime(match[1], "%d %b %Y %H:%M:%S.%f").astimezone()
    except (ValueError, KeyError, TypeError):
        return None
    return None
