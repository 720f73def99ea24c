"""The registry as a process of its own, and a small client that publishes as a publisher does."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import onnx

from nnpm.api.registry.v1 import package_pb2, registry_pb2_grpc
from nnpm.api.registry.v1 import registry_pb2 as pb
from nnpm.package.manifest import Manifest
from nnpm.rpc.channels import open_channel
from support.artifact import ArtifactClient
from support.ports import free_port
from support.processes import Process, resident_bytes, wait_healthy

SERVICE = "nnpm.api.registry.v1.RegistryService"


def manifest(files: Mapping[str, bytes], name: str = "acme/tiny", version: str = "1.0.0", **fields: Any) -> Manifest:
    """A manifest of these files; the model is the first that ends in `.onnx`, if the fields say no other."""
    entries = [
        {"path": path, "size": len(content), "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
        for path, content in sorted(files.items())
    ]
    model = next((path for path in files if path.endswith(".onnx")), "")
    described = {"format": 1, "name": name, "version": version, "license": "Apache-2.0", "framework": "onnx"}
    return Manifest.build(described | {"runtime": "onnx", "model": model, "files": entries} | fields)


class RegistryProcess:
    """`python -m nnpm_registry` over a folder; `settings` add to or replace NNPM_* of its own."""

    def __init__(self, folder: Path, artifact_address: str, settings: Mapping[str, str] | None = None) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        environment = {
            "NNPM_REGISTRY_LISTEN": self.address,
            "NNPM_REGISTRY_DATABASE_URL": f"sqlite:///{folder / 'registry.db'}",
            "NNPM_ARTIFACT_ADDRESS": artifact_address,
            "NNPM_LOG_FORMAT": "json",
            **(settings or {}),
        }
        self.process = Process.service("nnpm_registry", folder / "registry.log", environment)

    def start(self) -> "RegistryProcess":
        """Returns once it is SERVING."""
        self.process.start()
        return self.wait()

    def wait(self) -> "RegistryProcess":
        """Returns once it is SERVING."""
        wait_healthy(self.address, SERVICE, process=self.process)
        return self

    def end(self) -> None:
        """Whatever its state, it is gone afterwards."""
        self.process.__exit__(None, None, None)

    @property
    def resident_bytes(self) -> int:
        return resident_bytes(self.process.pid)


class Publisher:
    """Talks to a registry and an artifact service as a publisher does."""

    def __init__(self, registry: grpc.aio.Channel, artifact: grpc.aio.Channel) -> None:
        self.stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(registry)
        self.artifact = ArtifactClient(artifact)

    @classmethod
    @asynccontextmanager
    async def connected(cls, registry: str, artifact: str) -> "AsyncIterator[Publisher]":
        async with open_channel(registry) as one, open_channel(artifact) as other:
            yield cls(one, other)

    async def draft(self, wanted: Manifest | dict[str, Any], request_id: str = "") -> package_pb2.Version:
        content = wanted.canonical() if isinstance(wanted, Manifest) else json.dumps(wanted).encode()
        return (await self.stub.CreateVersion(pb.CreateVersionRequest(manifest=content, request_id=request_id))).version

    async def upload(self, files: Mapping[str, bytes], namespace: str = "acme") -> list[str]:
        """The uploads, which hold the files."""
        return [await self.artifact.put(content, namespace) for content in files.values()]

    async def commit(self, wanted: Manifest) -> package_pb2.Version:
        request = pb.CommitVersionRequest(package=wanted.name, version=wanted.version, digest=wanted.digest())
        return (await self.stub.CommitVersion(request)).version

    async def publish(
        self, model: onnx.ModelProto | bytes, name: str = "acme/tiny", version: str = "1.0.0", **fields: Any
    ) -> package_pb2.Version:
        """Draft, upload, commit: READY or REJECTED."""
        content = model if isinstance(model, bytes) else model.SerializeToString()
        files = {"model.onnx": content, **fields.pop("files", {})}
        wanted = manifest(files, name, version, **fields)
        await self.draft(wanted)
        await self.upload(files, wanted.package.namespace)
        return await self.commit(wanted)

    async def resolve(self, selector: str, package: str = "acme/tiny") -> pb.ResolveVersionResponse:
        return await self.stub.ResolveVersion(pb.ResolveVersionRequest(package=package, selector=selector))

    async def get(self, version: str = "1.0.0", package: str = "acme/tiny") -> package_pb2.Version:
        return (await self.stub.GetVersion(pb.GetVersionRequest(package=package, version=version))).version
