"""The registry, as the scheduler asks it: which exact version does a selector mean, and what is in it?"""

from collections.abc import Iterable

import grpc.aio

from nnpm.api.registry.v1 import package_pb2, registry_pb2, registry_pb2_grpc
from nnpm.errors import FailedPrecondition, Unavailable
from nnpm.package.manifest import Manifest
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.control.deployments import PublishedVersion, Spec


class Registry:
    """A client of `nnpm.api.registry.v1` over an open channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def resolve(self, spec: Spec) -> PublishedVersion:
        """The version that the spec's selector means now.

        Raises:
            NotFound: as the registry says it: no such package, version, or none in the range.
            FailedPrecondition: VERSION_YANKED.
            Unavailable: REGISTRY_UNREACHABLE, with what the connection said.
        """
        request = registry_pb2.ResolveVersionRequest(package=spec.package, selector=spec.selector)
        try:
            response = await self._stub.ResolveVersion(request, timeout=20)
        except Unavailable as error:
            raise Unavailable(
                "REGISTRY_UNREACHABLE",
                f"the registry does not answer, so {spec.package}@{spec.selector} cannot be resolved: {error.message}",
                hint=error.hint,
                retry_after=1,
            ) from error
        version = response.version
        if version.yanked:
            raise FailedPrecondition(
                "VERSION_YANKED",
                f"{version.package} {version.version} was yanked{_because(version.yank_reason)}",
                hint=f"deploy another version: nnpm versions {version.package} lists them",
                metadata={"package": version.package, "version": version.version},
            )
        return PublishedVersion(
            package=version.package,
            version=version.version,
            digest=version.digest,
            manifest=version.manifest,
            signature=Signature(_tensors(version.signature.inputs), _tensors(version.signature.outputs)),
            size=version.size,
            runtime=Manifest.parse(version.manifest).runtime,
        )


def _tensors(specs: Iterable[package_pb2.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(spec.name, spec.datatype, tuple(spec.shape), optional=spec.optional, unranked=spec.unranked)
        for spec in specs
    )


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
