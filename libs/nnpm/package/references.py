"""`acme/tiny@^1.2`: a package and what of it is wanted."""

import enum
from dataclasses import dataclass
from typing import Self

from nnpm.errors import InvalidArgument
from nnpm.package.names import PackageName, is_tag
from nnpm.package.ranges import Range, is_range
from nnpm.package.versions import Version, is_version

LATEST = "latest"


class SelectorKind(enum.Enum):
    """What a selector turned out to be."""

    EXACT = "version"
    RANGE = "range"
    TAG = "tag"


@dataclass(frozen=True, slots=True)
class Selector:
    """The part behind `@`: an exact version, a range or a tag; nothing means the tag `latest`."""

    text: str
    kind: SelectorKind

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidArgument INVALID_SELECTOR when `text` is neither version, range nor tag."""
        text = text.strip()
        if not text:
            return cls(LATEST, SelectorKind.TAG)
        if is_version(text):
            return cls(text, SelectorKind.EXACT)
        if is_range(text):
            return cls(text, SelectorKind.RANGE)
        if is_tag(text):
            return cls(text, SelectorKind.TAG)
        raise InvalidArgument(
            "INVALID_SELECTOR",
            f"{text[:200]!r} is neither a version (1.2.3), a range (^1.2) nor a tag (champion)",
            hint="ranges follow npm: ^1.2, ~1.2.3, 1.x, '>=1 <2' (quote what has spaces or < >)",
            metadata={"selector": text[:200]},
        )

    @property
    def version(self) -> Version | None:
        """The exact version, when it is one."""
        return Version.parse(self.text) if self.kind is SelectorKind.EXACT else None

    @property
    def range(self) -> Range | None:
        """The range, when it is one."""
        return Range.parse(self.text) if self.kind is SelectorKind.RANGE else None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class PackageReference:
    """A package and a selector: what `install`, `deploy` and a dependency name."""

    package: PackageName
    selector: Selector

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `namespace/name[@selector]`. Raises InvalidArgument for a bad name or selector."""
        name, _, selector = text.strip().partition("@")
        return cls(PackageName.parse(name.strip()), Selector.parse(selector))

    def __str__(self) -> str:
        return f"{self.package}@{self.selector}"
