"""Between rows and records: times, JSON, etags."""

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row

from nnpm_registry.records import (
    Draft,
    Event,
    EventType,
    Listed,
    Namespace,
    Package,
    Rejection,
    Report,
    State,
    Tag,
    Version,
)

_REPORT: TypeAdapter[Report] = TypeAdapter(Report)
_REJECTIONS: TypeAdapter[tuple[Rejection, ...]] = TypeAdapter(tuple[Rejection, ...])
_WORDS: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def new_token() -> str:
    """An id, a claim or an etag: never seen before."""
    return secrets.token_hex(16)


def moment(microseconds: int) -> datetime:
    """A stored time."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)


def report_text(report: Report) -> str:
    """A report as it is stored."""
    return _REPORT.dump_json(report).decode()


def rejections_text(rejections: Sequence[Rejection]) -> str:
    """Rejections as they are stored."""
    return _REJECTIONS.dump_json(tuple(rejections)).decode()


def words_text(words: Sequence[str]) -> str:
    """A list of words as it is stored."""
    return _WORDS.dump_json(tuple(words)).decode()


def words(text: str) -> tuple[str, ...]:
    """A stored list of words."""
    return _WORDS.validate_json(text)


def version(row: Row[Any]) -> Version:
    """From a row of `versions`."""
    report = _REPORT.validate_json(row.report)
    return Version(
        package=row.package,
        version=row.version,
        state=State.READY,
        manifest=row.manifest,
        digest=row.digest,
        size=row.size,
        license=row.license,
        create_time=moment(row.create_time),
        publish_time=moment(row.publish_time),
        signature=report.signature,
        facts=report.facts,
        yanked=row.yanked,
        yank_reason=row.yank_reason,
    )


def drafted(row: Row[Any]) -> Version:
    """From a row of `drafts`, for a caller."""
    return Version(
        package=row.package,
        version=row.version,
        state=State(row.state),
        manifest=row.manifest,
        digest=row.digest,
        size=row.size,
        license=row.license,
        create_time=moment(row.create_time),
        rejections=_REJECTIONS.validate_json(row.rejections),
    )


def draft(row: Row[Any]) -> Draft:
    """From a row of `drafts`, for a commit."""
    return Draft(row.id, row.package, row.version, State(row.state), row.digest, row.manifest, row.license)


def listed(row: Row[str, bool]) -> Listed:
    """From a row of `versions`."""
    return Listed(*row)


def namespace(row: Row[Any]) -> Namespace:
    """From a row of `namespaces`."""
    return Namespace(row.name, moment(row.create_time))


def package(row: Row[Any]) -> Package:
    """From a row of `packages` with the column `latest` of its tag."""
    return Package(
        row.name,
        row.description,
        words(row.keywords),
        row.homepage,
        row.latest or "",
        moment(row.create_time),
        moment(row.update_time),
        row.etag,
    )


def tag(row: Row[Any]) -> Tag:
    """From a row of `tags`."""
    return Tag(row.package, row.tag, row.version, moment(row.update_time), row.etag)


def event(row: Row[Any]) -> Event:
    """From a row of `events`."""
    return Event(row.sequence, EventType(row.type), row.package, row.version, row.tag, moment(row.time))
