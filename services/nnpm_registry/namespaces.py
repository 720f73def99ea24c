"""Namespaces: made by name, or by the first publication into one."""

from collections.abc import Sequence

from nnpm.package.names import check_namespace
from nnpm.rpc.pages import last_seen, page_size, page_token
from nnpm.rpc.requests import check_request_id
from nnpm.sql.database import Database
from nnpm_registry.records import Namespace
from nnpm_registry.store import namespaces as stored


class Namespaces:
    """The namespaces of the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, request_id: str) -> Namespace:
        """Raises InvalidArgument INVALID_NAMESPACE, INVALID_REQUEST_ID; AlreadyExists NAMESPACE_TAKEN."""
        check_request_id(request_id)
        return await self._database.write(stored.create, check_namespace(name), request_id)

    async def page(self, size: int, token: str) -> tuple[Sequence[Namespace], str]:
        """Namespaces by name, and the token of the next page."""
        limit = page_size(size)
        found = await self._database.read(stored.page, last_seen(token), limit + 1)
        return found[:limit], page_token(found[limit - 1].name) if len(found) > limit else ""
