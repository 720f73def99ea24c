"""npm's range grammar, spaces and all: `^1.2`, `~> 1.2.3`, `>= 1 <2`, `1.x || 3`, `1.2 - 2`, `*`.

The grammar and its answers are those of the npm package `semver` (7.8; https://github.com/npm/node-semver#ranges),
through its Python port `nodesemver`, whose gaps are closed here: it takes two forms that npm refuses since 7.8 (`x.1`,
numbers beyond 2**53 - 1) and any Unicode digit or space, refuses build metadata behind less than three numbers (`1+b`),
and needs 120 us an answer, so that answers are cached.
"""

import functools
import re
from dataclasses import dataclass, field
from typing import Self

import nodesemver

from nnpm.errors import InvalidArgument
from nnpm.package.versions import MAX_NUMBER, Version

MAX_LENGTH = 512
_ALLOWED = re.compile(r"[\t\n\r\x20-\x7e]*")
_BUILD = re.compile(r"\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*")
_HYPHEN = re.compile(r"\s-\s")
_PARTIAL = re.compile(
    r"(?<![0-9A-Za-z.+*-])(?P<loose>[~^]>?)?[<>=v\s]*"
    r"(?P<major>[0-9]+|[xX*])(?:\.(?P<minor>[0-9]+|[xX*]))?(?:\.(?P<patch>[0-9]+|[xX*]))?"
)
_WILDCARDS = (None, "x", "X", "*")


@dataclass(frozen=True, slots=True)
class Range:
    """A set of versions. Equal when written equally; `str()` is what was written, `canonical` npm's plain form."""

    text: str
    canonical: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidArgument INVALID_RANGE when npm would refuse the range. Empty means any release, as `*`."""
        canonical = _canonical(text)
        if canonical is None:
            raise InvalidArgument(
                "INVALID_RANGE",
                f"{text[:MAX_LENGTH]!r} is no version range",
                hint="ranges follow npm: ^1.2, ~1.2.3, 1.x, >=1 <2, 1.2 - 1.4, or 1 || 3",
                metadata={"range": text[:MAX_LENGTH]},
            )
        return cls(text, canonical)

    def admits(self, version: Version) -> bool:
        """Whether the range takes this version. Pre-releases count where the range names one of the same release."""
        return _satisfies(str(version), self.canonical)

    def __str__(self) -> str:
        return self.text


def is_range(text: str) -> bool:
    """Whether npm takes `text` as a range; an exact version and the empty text are ranges too."""
    return _canonical(text) is not None


@functools.lru_cache(maxsize=4096)
def _canonical(text: str) -> str | None:
    if len(text) > MAX_LENGTH or not _ALLOWED.fullmatch(text):
        return None
    plain = _BUILD.sub("", text.strip())
    if not all(map(_is_in_order, plain.split("||"))):
        return None
    canonical: str | None = nodesemver.valid_range(plain, False)
    return canonical


@functools.lru_cache(maxsize=65536)
def _satisfies(version: str, canonical: str) -> bool:
    return bool(nodesemver.satisfies(version, canonical, False))


def _is_in_order(part: str) -> bool:
    """Whether no number stands behind a wildcard (`x.1`, `1.x.3`) and none is too large for npm."""
    hyphenated = bool(_HYPHEN.search(part))
    for partial in _PARTIAL.finditer(part):
        major, minor, patch = partial.group("major", "minor", "patch")
        if any(number not in _WILDCARDS and int(number) > MAX_NUMBER for number in (major, minor, patch)):
            return False
        if partial["loose"] or hyphenated:  # npm reads ~x.1, ^x.1 and x.1 - 2 as "anything"
            continue
        if (major in _WILDCARDS and minor not in _WILDCARDS) or (minor in _WILDCARDS and patch not in _WILDCARDS):
            return False
    return True
