"""What commands print: a text for people, or one JSON document for programs."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


# Control characters but new line and tab, and those that reverse the order of a text: what a terminal would obey.
_OBEYED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"} | {
    code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


class Output:
    """Where a command's result goes.

    Args:
        as_json: print JSON instead of text.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def result(self, value: Mapping[str, Any], render: "Callable[[Console], None]") -> None:
        """The command's result: `value` as JSON, or whatever `render` prints."""
        if self.as_json:
            self._document(value)
        else:
            render(console())

    def done(self, value: Mapping[str, Any], text: str) -> None:
        """A result that plain text tells."""
        if self.as_json:
            self._document(value)
        else:
            sys.stdout.write(f"{harmless(text)}\n")

    def note(self, text: str) -> None:
        """A remark beside the result, on stderr; programs do not get it."""
        if not self.as_json:
            sys.stderr.write(f"{harmless(text)}\n")

    def _document(self, value: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False) + "\n")


def harmless(text: str) -> str:
    """`text`, which may be a stranger's description or a model's message, without what would command the terminal."""
    return text.translate(_OBEYED)


def console(*, stderr: bool = False) -> "Console":
    """A rich console that does not wrap where nobody reads."""
    from rich.console import Console

    screen = Console(stderr=stderr, highlight=False)
    return screen if screen.is_terminal else Console(stderr=stderr, highlight=False, width=10_000)


def table(screen: "Console", columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under a heading, aligned, without lines."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(harmless(str(cell))) for cell in row))
    screen.print(grid)


def size(count: float) -> str:
    """Bytes for people: `3.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
