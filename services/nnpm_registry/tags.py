"""Tags: movable names of versions. `latest` is the registry's own."""

from collections.abc import Sequence

from sqlalchemy import Connection

from nnpm.errors import InvalidArgument
from nnpm.package.names import PackageName, check_tag
from nnpm.package.references import LATEST
from nnpm.package.versions import Version as Number
from nnpm.rpc.pages import last_seen, page_size, page_token
from nnpm.rpc.requests import masked_fields
from nnpm.sql.database import Database
from nnpm_registry.records import Tag
from nnpm_registry.store import packages
from nnpm_registry.store import tags as stored


class Tags:
    """The tags of the registry's packages. All raise INVALID_PACKAGE_NAME, INVALID_TAG, PACKAGE_NOT_FOUND."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, wanted: Tag, mask: Sequence[str]) -> Tag:
        """Makes a tag, or moves it. With an etag, only where the tag still has it.

        Raises InvalidArgument TAG_RESERVED, INVALID_VERSION, INVALID_FIELD_MASK; NotFound VERSION_NOT_FOUND;
        FailedPrecondition VERSION_YANKED; Aborted ETAG_MISMATCH.
        """
        masked_fields(mask, ("version",))
        package, tag = _checked(wanted.package, wanted.tag)
        return await self._database.write(_set, package, tag, str(Number.parse(wanted.version)), wanted.etag)

    async def delete(self, package: str, tag: str) -> None:
        """Raises InvalidArgument TAG_RESERVED; NotFound TAG_NOT_FOUND."""
        await self._database.write(_delete, *_checked(package, tag))

    async def page(self, package: str, size: int, token: str) -> tuple[Sequence[Tag], str]:
        """Tags by name, and the token of the next page."""
        limit = page_size(size)
        found = await self._database.read(_page, str(PackageName.parse(package)), last_seen(token), limit + 1)
        return found[:limit], page_token(found[limit - 1].tag) if len(found) > limit else ""


def _checked(package: str, tag: str) -> tuple[str, str]:
    name = str(PackageName.parse(package))
    if check_tag(tag) == LATEST:
        raise InvalidArgument(
            "TAG_RESERVED",
            f"the tag {LATEST!r} is kept by the registry: it names the highest release that is not yanked",
            hint="use a tag of your own, for example champion",
        )
    return name, tag


def _set(connection: Connection, package: str, tag: str, version: str, etag: str) -> Tag:
    packages.find(connection, package)
    return stored.move(connection, package, tag, version, etag)


def _delete(connection: Connection, package: str, tag: str) -> None:
    packages.find(connection, package)
    stored.remove(connection, package, tag)


def _page(connection: Connection, package: str, after: str, limit: int) -> Sequence[Tag]:
    packages.find(connection, package)
    return stored.page(connection, package, after, limit)
