"""What the registry knows: packages, versions, tags."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

from nnpm.api.registry.v1 import package_pb2, registry_pb2
from nnpm.client import from_messages
from nnpm.client.connection import Connection
from nnpm.client.records import Package, Resolution, Tag, Version
from nnpm.errors import DataLoss
from nnpm.package.names import PackageName, check_tag
from nnpm.package.references import PackageReference

PAGE = 500


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


Page = TypeVar("Page", bound=_Page)


class Catalog:
    """Reads and names; nothing here moves files."""

    def __init__(self, connection: Connection) -> None:
        self._registry = connection.registry

    async def packages(self, namespace: str = "") -> tuple[Package, ...]:
        """Packages with a published version, of one namespace or of all, by name."""

        def page(token: str) -> Awaitable[registry_pb2.ListPackagesResponse]:
            return self._registry.ListPackages(
                registry_pb2.ListPackagesRequest(namespace=namespace, page_size=PAGE, page_token=token)
            )

        return tuple([from_messages.package(one) async for answer in pages(page) for one in answer.packages])

    async def search(self, query: str, limit: int) -> tuple[Package, ...]:
        """Packages that match every word of the query, at most `limit`."""
        found: list[Package] = []

        def page(token: str) -> Awaitable[registry_pb2.SearchPackagesResponse]:
            return self._registry.SearchPackages(
                registry_pb2.SearchPackagesRequest(query=query, page_size=min(limit, PAGE), page_token=token)
            )

        async for answer in pages(page):
            found.extend(map(from_messages.package, answer.packages))
            if len(found) >= limit:
                break
        return tuple(found[:limit])

    async def package(self, name: str) -> Package:
        """One package. Raises NotFound PACKAGE_NOT_FOUND."""
        request = registry_pb2.GetPackageRequest(package=str(PackageName.parse(name)))
        return from_messages.package((await self._registry.GetPackage(request)).package)

    async def versions(self, name: str) -> tuple[Version, ...]:
        """Published versions, highest first, yanked ones too."""
        package = str(PackageName.parse(name))

        def page(token: str) -> Awaitable[registry_pb2.ListVersionsResponse]:
            return self._registry.ListVersions(
                registry_pb2.ListVersionsRequest(package=package, page_size=PAGE, page_token=token)
            )

        return tuple([from_messages.version(one) async for answer in pages(page) for one in answer.versions])

    async def version(self, name: str, version: str) -> Version:
        """One exact version, in whatever state it is."""
        request = registry_pb2.GetVersionRequest(package=str(PackageName.parse(name)), version=version)
        return _of(request.package, from_messages.version((await self._registry.GetVersion(request)).version))

    async def resolve(self, reference: str) -> Resolution:
        """The version that `acme/tiny@^1.2` means, and why."""
        wanted = PackageReference.parse(reference)
        request = registry_pb2.ResolveVersionRequest(package=str(wanted.package), selector=wanted.selector.text)
        answer = await self._registry.ResolveVersion(request)
        return Resolution(_of(request.package, from_messages.version(answer.version)), answer.explanation)

    async def tags(self, name: str) -> tuple[Tag, ...]:
        """All tags of a package."""
        package = str(PackageName.parse(name))

        def page(token: str) -> Awaitable[registry_pb2.ListTagsResponse]:
            return self._registry.ListTags(
                registry_pb2.ListTagsRequest(package=package, page_size=PAGE, page_token=token)
            )

        return tuple([from_messages.tag(one) async for answer in pages(page) for one in answer.tags])

    async def set_tag(self, name: str, tag: str, version: str) -> Tag:
        """Makes or moves a tag."""
        wanted = package_pb2.Tag(package=str(PackageName.parse(name)), tag=check_tag(tag), version=version)
        return from_messages.tag((await self._registry.SetTag(registry_pb2.SetTagRequest(tag=wanted))).tag)

    async def delete_tag(self, name: str, tag: str) -> None:
        """Removes a tag."""
        await self._registry.DeleteTag(registry_pb2.DeleteTagRequest(package=str(PackageName.parse(name)), tag=tag))

    async def yank(self, name: str, version: str, reason: str) -> Version:
        """Withdraws a version: chosen by no range or tag from now on, still there where named exactly."""
        request = registry_pb2.YankVersionRequest(
            package=str(PackageName.parse(name)), version=version, yank_reason=reason
        )
        return from_messages.version((await self._registry.YankVersion(request)).version)

    async def unyank(self, name: str, version: str) -> Version:
        """Takes a yank back."""
        request = registry_pb2.UnyankVersionRequest(package=str(PackageName.parse(name)), version=version)
        return from_messages.version((await self._registry.UnyankVersion(request)).version)


def _of(package: str, found: Version) -> Version:
    """`found`, which must be of the package that was asked for: its name becomes a folder's."""
    if found.package != package:
        raise DataLoss("CONTENT_MISMATCH", f"the registry was asked for {package} and answered {found.package[:200]!r}")
    return found


async def pages(page: Callable[[str], Awaitable[Page]]) -> AsyncIterator[Page]:
    """Every page of a list, from the first to the one without a next."""
    token = ""
    while True:
        answer = await page(token)
        yield answer
        token = answer.next_page_token
        if not token:
            return
