"""Packages: found, listed, searched and described."""

from collections.abc import Collection, Sequence

from pydantic import TypeAdapter, ValidationError

from nnpm.errors import FieldViolation, InvalidArgument
from nnpm.package.manifest import Keyword, LongText, Url
from nnpm.package.names import PackageName, check_namespace
from nnpm.rpc.pages import last_seen, page_size, page_token
from nnpm.rpc.requests import masked_fields
from nnpm.sql.database import Database
from nnpm_registry.records import Package
from nnpm_registry.store import packages as stored

FIELDS = ("description", "keywords", "homepage")
_MAX_QUERY = 256
_MAX_KEYWORDS = 64
_KINDS: dict[str, TypeAdapter[str]] = {
    "description": TypeAdapter(LongText),
    "keyword": TypeAdapter(Keyword),
    "homepage": TypeAdapter(Url),
}


class Packages:
    """The packages of the registry. All names are checked here: InvalidArgument INVALID_PACKAGE_NAME."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> Package:
        """Raises NotFound PACKAGE_NOT_FOUND."""
        return await self._database.read(stored.find, str(PackageName.parse(name)))

    async def page(self, namespace: str, size: int, token: str) -> tuple[Sequence[Package], str]:
        """Packages by name, of one namespace and those inside it or of all, and the token of the next page."""
        limit = page_size(size)
        if namespace:
            check_namespace(namespace)
        found = await self._database.read(stored.page, namespace, last_seen(token), limit + 1)
        return found[:limit], page_token(found[limit - 1].name) if len(found) > limit else ""

    async def search(self, query: str, size: int, token: str) -> tuple[Sequence[Package], str]:
        """Packages that hold every word of the query in name, description or keywords; see `store.packages.search`.

        Raises InvalidArgument INVALID_QUERY, INVALID_PAGE_TOKEN.
        """
        limit = page_size(size)
        if len(query) > _MAX_QUERY:
            raise InvalidArgument("INVALID_QUERY", f"a query has at most {_MAX_QUERY} characters, not {len(query)}")
        words = query.lower().split()
        found = await self._database.read(stored.search, words, _search_position(token), limit + 1)
        more = page_token(f"{found[limit - 1][0]} {found[limit - 1][1].name}") if len(found) > limit else ""
        return [package for _, package in found[:limit]], more

    async def update(self, wanted: Package, mask: Collection[str]) -> Package:
        """Sets the fields that the mask names. With an etag, only where the package still has it.

        Raises NotFound PACKAGE_NOT_FOUND; Aborted ETAG_MISMATCH; InvalidArgument INVALID_FIELD_MASK, INVALID_PACKAGE.
        """
        name = str(PackageName.parse(wanted.name))
        fields = {field: getattr(wanted, field) for field in FIELDS if field in masked_fields(mask, FIELDS)}
        _check(fields)
        return await self._database.write(stored.change, name, fields, wanted.etag)


def _search_position(token: str) -> tuple[int, str]:
    rank, _, name = last_seen(token).partition(" ")
    if token and rank not in ("0", "1"):
        raise InvalidArgument(
            "INVALID_PAGE_TOKEN", "page_token is not one that this method gave", hint="begin with the first page"
        )
    return int(rank or 0), name


def _check(fields: dict[str, str | tuple[str, ...]]) -> None:
    """The same bounds as in a manifest."""
    violations = []
    for field, value in fields.items():
        kind, values = ("keyword", tuple(value)) if field == "keywords" else (field, (str(value),))
        if len(values) > _MAX_KEYWORDS:
            violations.append(FieldViolation(f"package.{field}", f"has more than {_MAX_KEYWORDS} entries"))
        for text in values:
            try:
                _KINDS[kind].validate_python(text)
            except ValidationError as error:
                violations.append(FieldViolation(f"package.{field}", error.errors()[0]["msg"]))
    if violations:
        first = violations[0]
        raise InvalidArgument("INVALID_PACKAGE", f"{first.field}: {first.description}", violations=violations[:20])
