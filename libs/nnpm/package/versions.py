"""SemVer 2.0 (https://semver.org/spec/v2.0.0.html): the exact version of a package."""

import functools
import re
from dataclasses import dataclass, field
from typing import Self

from nnpm.errors import InvalidArgument

MAX_LENGTH = 256
MAX_NUMBER = 2**53 - 1
"""npm's bound on major, minor and patch: without it a range could not be answered as npm answers it."""

# The expression that semver.org recommends, for ASCII only.
_VERSION = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)

_PreleaseKey = tuple[tuple[int, int, str], ...]


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """One exact version. Ordered by SemVer precedence; versions that differ in build metadata only, by its text."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    _key: tuple[int, int, int, bool, _PreleaseKey, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Numeric identifiers sort by value and before all others; a release sorts after its pre-releases.
        marks = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.prerelease)
        key = (self.major, self.minor, self.patch, not self.prerelease, marks, self.build)
        object.__setattr__(self, "_key", key)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidArgument INVALID_VERSION with a hint when `text` is no SemVer 2.0 version."""
        match = _VERSION.fullmatch(text) if len(text) <= MAX_LENGTH else None
        if match is None:
            raise _invalid(text, "it must read MAJOR.MINOR.PATCH, as SemVer 2.0 says")
        major, minor, patch, prerelease, build = match.groups()
        if any(int(number) > MAX_NUMBER for number in (major, minor, patch)):
            raise _invalid(text, f"a number in it is larger than {MAX_NUMBER}")
        return cls(
            int(major),
            int(minor),
            int(patch),
            tuple(prerelease.split(".")) if prerelease else (),
            tuple(build.split(".")) if build else (),
        )

    def __lt__(self, other: "Version") -> bool:
        return self._key < other._key

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        if self.prerelease:
            text += "-" + ".".join(self.prerelease)
        if self.build:
            text += "+" + ".".join(self.build)
        return text


def is_version(text: str) -> bool:
    """Whether `text` is an exact version."""
    try:
        Version.parse(text)
    except InvalidArgument:
        return False
    return True


def _invalid(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        "INVALID_VERSION",
        f"{text[:MAX_LENGTH]!r} is no version: {why}",
        hint=f"for example {_suggest(text)}",
        metadata={"version": text[:MAX_LENGTH]},
    )


def _suggest(text: str) -> str:
    """A version close to what was written: `v1.2` -> `1.2.0`."""
    numbers = re.match(r"[vV=\s]*([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?", text)
    if numbers is None:
        return "1.0.0"
    return ".".join(str(int(number or 0)) for number in numbers.groups())
