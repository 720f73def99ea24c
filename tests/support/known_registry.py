"""A registry service over real gRPC that knows the versions that a test gives it."""

from typing import Any, Self

import grpc
import grpc.aio

from nnpm.api.registry.v1 import package_pb2, registry_pb2, registry_pb2_grpc
from nnpm.errors import NotFound
from nnpm.package.manifest import Manifest
from nnpm.rpc.status import abort


class KnownRegistry(registry_pb2_grpc.RegistryServiceServicer):
    """Resolves exact versions, and `latest` to the version that was added last. `address` is where it listens."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str], package_pb2.Version] = {}
        self.address = ""
        self._server = grpc.aio.server()

    async def __aenter__(self) -> Self:
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._server.stop(0)

    def add(self, package: str, version: str, *, yanked: bool = False, size: int = 1000) -> None:
        digest = "sha256:" + version.replace(".", "").rjust(64, "0")
        manifest = Manifest.build(
            {
                "name": package,
                "version": version,
                "license": "Apache-2.0",
                "model": "model.onnx",
                "files": [{"path": "model.onnx", "size": size, "digest": digest}],
            }
        )
        tensor = package_pb2.TensorSpec(name="x", datatype="FP32", shape=[-1, 4])
        found = package_pb2.Version(
            package=package,
            version=version,
            state=package_pb2.VERSION_STATE_READY,
            manifest=manifest.canonical(),
            digest=manifest.digest(),
            size=size,
            signature=package_pb2.Signature(inputs=[tensor], outputs=[tensor]),
            yanked=yanked,
            yank_reason="wrong weights" if yanked else "",
        )
        self.versions[package, version] = self.versions[package, "latest"] = found

    async def ResolveVersion(
        self, request: registry_pb2.ResolveVersionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> registry_pb2.ResolveVersionResponse:
        found = self.versions.get((request.package, request.selector))
        if found is None:
            hint = "nnpm versions lists what there is"
            await abort(context, NotFound("VERSION_NOT_FOUND", f"no version is {request.selector}", hint=hint))
        return registry_pb2.ResolveVersionResponse(version=found)
