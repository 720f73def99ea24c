"""The gRPC face of the registry: translate, delegate, translate back."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from nnpm.api.registry.v1 import registry_pb2 as pb
from nnpm.api.registry.v1 import registry_pb2_grpc
from nnpm_registry import messages
from nnpm_registry.commits import Commits
from nnpm_registry.namespaces import Namespaces
from nnpm_registry.packages import Packages
from nnpm_registry.tags import Tags
from nnpm_registry.versions import Versions
from nnpm_registry.watch import Watch

SERVICE = "nnpm.api.registry.v1.RegistryService"

Context = grpc.aio.ServicerContext[Any, Any]


class RegistryService(registry_pb2_grpc.RegistryServiceServicer):
    """See `protos/nnpm/api/registry/v1/registry.proto`; errors are raised as nnpm errors."""

    def __init__(
        self,
        *,
        namespaces: Namespaces,
        packages: Packages,
        versions: Versions,
        commits: Commits,
        tags: Tags,
        watch: Watch,
    ) -> None:
        self._namespaces = namespaces
        self._packages = packages
        self._versions = versions
        self._commits = commits
        self._tags = tags
        self._watch = watch

    async def CreateNamespace(self, request: pb.CreateNamespaceRequest, context: Context) -> pb.CreateNamespaceResponse:
        made = await self._namespaces.create(request.namespace, request.request_id)
        return pb.CreateNamespaceResponse(namespace=messages.namespace_message(made))

    async def ListNamespaces(self, request: pb.ListNamespacesRequest, context: Context) -> pb.ListNamespacesResponse:
        found, more = await self._namespaces.page(request.page_size, request.page_token)
        return pb.ListNamespacesResponse(namespaces=map(messages.namespace_message, found), next_page_token=more)

    async def GetPackage(self, request: pb.GetPackageRequest, context: Context) -> pb.GetPackageResponse:
        return pb.GetPackageResponse(package=messages.package_message(await self._packages.get(request.package)))

    async def ListPackages(self, request: pb.ListPackagesRequest, context: Context) -> pb.ListPackagesResponse:
        found, more = await self._packages.page(request.namespace, request.page_size, request.page_token)
        return pb.ListPackagesResponse(packages=map(messages.package_message, found), next_page_token=more)

    async def SearchPackages(self, request: pb.SearchPackagesRequest, context: Context) -> pb.SearchPackagesResponse:
        found, more = await self._packages.search(request.query, request.page_size, request.page_token)
        return pb.SearchPackagesResponse(packages=map(messages.package_message, found), next_page_token=more)

    async def UpdatePackage(self, request: pb.UpdatePackageRequest, context: Context) -> pb.UpdatePackageResponse:
        wanted = messages.package_record(request.package)
        changed = await self._packages.update(wanted, tuple(request.update_mask.paths))
        return pb.UpdatePackageResponse(package=messages.package_message(changed))

    async def CreateVersion(self, request: pb.CreateVersionRequest, context: Context) -> pb.CreateVersionResponse:
        version = await self._versions.create(request.manifest, request.request_id)
        return pb.CreateVersionResponse(version=messages.version_message(version))

    async def CommitVersion(self, request: pb.CommitVersionRequest, context: Context) -> pb.CommitVersionResponse:
        version = await self._commits.commit(
            request.package, request.version, request.digest, request_id=request.request_id
        )
        return pb.CommitVersionResponse(version=messages.version_message(version))

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        version = await self._versions.get(request.package, request.version)
        return pb.GetVersionResponse(version=messages.version_message(version))

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        found, more = await self._versions.page(request.package, request.page_size, request.page_token)
        return pb.ListVersionsResponse(versions=map(messages.version_message, found), next_page_token=more)

    async def DeleteVersion(self, request: pb.DeleteVersionRequest, context: Context) -> pb.DeleteVersionResponse:
        await self._versions.delete(request.package, request.version)
        return pb.DeleteVersionResponse()

    async def YankVersion(self, request: pb.YankVersionRequest, context: Context) -> pb.YankVersionResponse:
        version = await self._versions.yank(request.package, request.version, request.yank_reason)
        return pb.YankVersionResponse(version=messages.version_message(version))

    async def UnyankVersion(self, request: pb.UnyankVersionRequest, context: Context) -> pb.UnyankVersionResponse:
        version = await self._versions.unyank(request.package, request.version)
        return pb.UnyankVersionResponse(version=messages.version_message(version))

    async def SetTag(self, request: pb.SetTagRequest, context: Context) -> pb.SetTagResponse:
        tag = await self._tags.set(messages.tag_record(request.tag), tuple(request.update_mask.paths))
        return pb.SetTagResponse(tag=messages.tag_message(tag))

    async def DeleteTag(self, request: pb.DeleteTagRequest, context: Context) -> pb.DeleteTagResponse:
        await self._tags.delete(request.package, request.tag)
        return pb.DeleteTagResponse()

    async def ListTags(self, request: pb.ListTagsRequest, context: Context) -> pb.ListTagsResponse:
        found, more = await self._tags.page(request.package, request.page_size, request.page_token)
        return pb.ListTagsResponse(tags=map(messages.tag_message, found), next_page_token=more)

    async def ResolveVersion(self, request: pb.ResolveVersionRequest, context: Context) -> pb.ResolveVersionResponse:
        version, why = await self._versions.resolve(request.package, request.selector)
        return pb.ResolveVersionResponse(version=messages.version_message(version), explanation=why)

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        async for event, token in self._watch.follow(request.resume_token, request.package):
            response = pb.WatchEventsResponse(resume_token=token)
            if event is not None:
                response.event.CopyFrom(messages.event_message(event))
            yield response
