"""What the registry knows, as plain data: no SQL, no protobuf."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nnpm.tensors.signature import Signature


class State(enum.Enum):
    """Where a version stands; the names are those of the proto's VersionState."""

    DRAFT = "DRAFT"
    VALIDATING = "VALIDATING"
    READY = "READY"
    REJECTED = "REJECTED"


class EventType(enum.Enum):
    """What happened to a package; the names are those of the proto's EventType."""

    VERSION_COMMITTED = "VERSION_COMMITTED"
    VERSION_YANKED = "VERSION_YANKED"
    VERSION_UNYANKED = "VERSION_UNYANKED"
    TAG_MOVED = "TAG_MOVED"
    TAG_DELETED = "TAG_DELETED"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the inspection read from a graph; all empty for a runtime whose files the registry cannot read."""

    ir_version: int = 0
    opsets: Mapping[str, int] = field(default_factory=dict)
    """Operator set versions by domain; the default domain is the empty key."""
    producer: str = ""
    operators: tuple[str, ...] = ()
    """Operator types used, sorted; `domain::Type` outside the default domain."""
    parameter_count: int = 0
    """Elements over all initialisers."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One reason for which a version is refused; `reason` is a key of `nnpm.reasons.REASONS`."""

    reason: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What an inspection found. Without rejections the version may be published."""

    signature: Signature = field(default_factory=Signature)
    facts: Facts = Facts()
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """A version in any state, as a caller sees it."""

    package: str
    version: str
    state: State
    manifest: bytes
    """Canonical JSON."""
    digest: str
    """`sha256:<hex>` of `manifest`."""
    size: int
    """Bytes of all files together."""
    license: str
    create_time: datetime
    publish_time: datetime | None = None
    signature: Signature | None = None
    facts: Facts | None = None
    rejections: tuple[Rejection, ...] = ()
    yanked: bool = False
    yank_reason: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A published version without its weighty parts: what choosing among versions needs."""

    version: str
    yanked: bool


@dataclass(frozen=True, slots=True)
class Namespace:
    """Owns packages."""

    name: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Package:
    """A name under which versions are published."""

    name: str
    description: str
    keywords: tuple[str, ...]
    homepage: str
    latest_version: str
    """Empty while nothing but pre-releases or yanked versions exist."""
    create_time: datetime
    update_time: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A movable name of a version."""

    package: str
    tag: str
    version: str
    update_time: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event stream; `sequence` grows by one with every event of the registry."""

    sequence: int
    type: EventType
    package: str
    version: str
    tag: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """A version on its way, as the commit needs it."""

    id: str
    """Of this attempt; names its references at the artifact service."""
    package: str
    version: str
    state: State
    digest: str
    manifest: bytes
    license: str

    @property
    def referrer(self) -> str:
        """As what the draft, and the version that it becomes, holds files at the artifact service.

        With the attempt's id, so that giving back what an abandoned attempt held takes nothing from a later one.
        """
        return f"{self.package}@{self.version}/{self.id}"
