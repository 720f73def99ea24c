"""Versions: drafted, read, yanked, resolved. `commits` has the step from draft to published."""

import re
from collections.abc import Sequence

from sqlalchemy import Connection

from nnpm.errors import InvalidArgument
from nnpm.package.manifest import Manifest
from nnpm.package.names import PackageName
from nnpm.package.references import Selector, SelectorKind
from nnpm.package.versions import Version as Number
from nnpm.package.versions import is_version
from nnpm.rpc.pages import last_seen, page_size, page_token
from nnpm.rpc.requests import check_request_id
from nnpm.sql.database import Database
from nnpm_registry.precedence import precedence
from nnpm_registry.records import Version
from nnpm_registry.resolve import choose
from nnpm_registry.store import drafts, packages, tags
from nnpm_registry.store import versions as stored

_MAX_REASON = 1000
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL character as canonical JSON writes it. PostgreSQL's texts cannot hold one, so a registry's do not."""


class Versions:
    """The versions of the registry. Names and numbers are checked here: INVALID_PACKAGE_NAME, INVALID_VERSION."""

    def __init__(self, database: Database, draft_seconds: int) -> None:
        self._database = database
        self._draft_seconds = draft_seconds

    async def create(self, manifest: bytes, request_id: str) -> Version:
        """A draft of the version that the manifest describes, or the version, when just that is published.

        Raises InvalidArgument INVALID_MANIFEST, INVALID_REQUEST_ID; AlreadyExists VERSION_TAKEN, REQUEST_ID_REUSED;
        FailedPrecondition COMMIT_IN_PROGRESS.
        """
        check_request_id(request_id)
        parsed = Manifest.parse(manifest)
        if _NUL.search(parsed.canonical()):
            raise InvalidArgument("INVALID_MANIFEST", "a text in the manifest holds a NUL character", hint="remove it")
        return await self._database.write(drafts.create, parsed, request_id, self._draft_seconds)

    async def get(self, package: str, version: str) -> Version:
        """A version in any state. Raises NotFound VERSION_NOT_FOUND."""
        return await self._database.read(drafts.get, *_checked(package, version))

    async def page(self, package: str, size: int, token: str) -> tuple[Sequence[Version], str]:
        """Published versions, highest first, and the token of the next page. Raises NotFound PACKAGE_NOT_FOUND."""
        limit = page_size(size)
        last = last_seen(token)
        if last and not is_version(last):
            raise InvalidArgument(
                "INVALID_PAGE_TOKEN", "page_token is not one that this method gave", hint="begin with the first page"
            )
        below = precedence(Number.parse(last)) if last else None
        found, more = await self._database.read(_page, str(PackageName.parse(package)), below, limit)
        return found, page_token(found[-1].version) if more else ""

    async def delete(self, package: str, version: str) -> None:
        """Deletes a draft.

        Raises NotFound VERSION_NOT_FOUND; FailedPrecondition VERSION_PUBLISHED, COMMIT_IN_PROGRESS.
        """
        await self._database.write(drafts.remove, *_checked(package, version))

    async def yank(self, package: str, version: str, reason: str) -> Version:
        """Has a version chosen by nothing any more. Raises VERSION_NOT_FOUND, InvalidArgument INVALID_YANK_REASON."""
        if len(reason) > _MAX_REASON:
            raise InvalidArgument(
                "INVALID_YANK_REASON", f"a reason has at most {_MAX_REASON} characters, not {len(reason)}"
            )
        return await self._database.write(stored.set_yanked, *_checked(package, version), yanked=True, reason=reason)

    async def unyank(self, package: str, version: str) -> Version:
        """Takes a yank back. Raises NotFound VERSION_NOT_FOUND."""
        return await self._database.write(stored.set_yanked, *_checked(package, version), yanked=False, reason="")

    async def resolve(self, package: str, selector: str) -> tuple[Version, str]:
        """The version that a selector means, and why; see `resolve.choose`. Raises NotFound PACKAGE_NOT_FOUND too."""
        name = str(PackageName.parse(package))
        return await self._database.read(_resolve, name, Selector.parse(selector))


def _checked(package: str, version: str) -> tuple[str, str]:
    return str(PackageName.parse(package)), str(Number.parse(version))


def _page(connection: Connection, package: str, below: bytes | None, limit: int) -> tuple[Sequence[Version], bool]:
    packages.find(connection, package)
    found = stored.page(connection, package, below, limit)
    if not found:
        return found, False
    rest = stored.count_below(connection, package, precedence(Number.parse(found[-1].version)))
    return found, rest > 0


def _resolve(connection: Connection, package: str, selector: Selector) -> tuple[Version, str]:
    packages.find(connection, package)
    tag = tags.find(connection, package, selector.text) if selector.kind is SelectorKind.TAG else None
    choice = choose(package, selector, stored.listing(connection, package), tag.version if tag else None)
    return stored.get(connection, package, choice.version), choice.explanation
