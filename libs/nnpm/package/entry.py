"""`module:Class`: which class of a package the runtime `python` makes a model of."""

import re
from dataclasses import dataclass
from typing import Self

from nnpm.errors import InvalidArgument

RUNTIME = "python"
"""The runtime that needs one."""

_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
_ENTRY = re.compile(rf"({_NAME}(?:\.{_NAME}){{0,15}}):({_NAME})")


@dataclass(frozen=True, slots=True)
class Entry:
    """A class: the module that it stands in, and its name."""

    module: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidArgument INVALID_ENTRY."""
        found = _ENTRY.fullmatch(text)
        if found is None:
            raise InvalidArgument(
                "INVALID_ENTRY", f"{text[:200]!r} does not name a class", hint="module:Class, for example model:Model"
            )
        return cls(found[1], found[2])

    @property
    def files(self) -> tuple[str, str]:
        """The paths, of which a package has one, that the module may be read from."""
        path = self.module.replace(".", "/")
        return f"{path}.py", f"{path}/__init__.py"

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"
