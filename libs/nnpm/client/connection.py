"""The client's connections to the four listeners, opened when first needed."""

import os
from typing import TYPE_CHECKING

import grpc.aio

from nnpm.api.artifact.v1.artifact_pb2_grpc import ArtifactServiceStub
from nnpm.api.inference.inference_pb2_grpc import GRPCInferenceServiceStub
from nnpm.api.registry.v1.registry_pb2_grpc import RegistryServiceStub
from nnpm.api.scheduler.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from nnpm.errors import InvalidArgument
from nnpm.mesh.find import MeshAddresses
from nnpm.rpc.channels import open_channel
from nnpm.rpc.limits import MAX_MESSAGE_BYTES
from nnpm.rpc.tls import Tls

if TYPE_CHECKING:  # these exist for type checkers only
    from nnpm.api.artifact.v1.artifact_pb2_grpc import ArtifactServiceAsyncStub
    from nnpm.api.inference.inference_pb2_grpc import GRPCInferenceServiceAsyncStub
    from nnpm.api.registry.v1.registry_pb2_grpc import RegistryServiceAsyncStub
    from nnpm.api.scheduler.v1.deployment_service_pb2_grpc import DeploymentServiceAsyncStub


class Connection:
    """One channel a listener; use it in one event loop and `close()` it there."""

    def __init__(self, addresses: MeshAddresses, tls: Tls | None = None) -> None:
        self.addresses = addresses
        self._tls = tls
        self._max_message_bytes = _max_message_bytes()
        self._channels: dict[str, grpc.aio.Channel] = {}

    @property
    def registry(self) -> "RegistryServiceAsyncStub":
        """Names and versions."""
        return RegistryServiceStub(self._channel(self.addresses.registry))

    @property
    def artifact(self) -> "ArtifactServiceAsyncStub":
        """Files."""
        return ArtifactServiceStub(self._channel(self.addresses.artifact))

    @property
    def control(self) -> "DeploymentServiceAsyncStub":
        """Deployments."""
        return DeploymentServiceStub(self._channel(self.addresses.control))

    @property
    def inference(self) -> "GRPCInferenceServiceAsyncStub":
        """The Open Inference Protocol."""
        return GRPCInferenceServiceStub(self._channel(self.addresses.scheduler))

    async def close(self) -> None:
        """Closes every channel; calls in flight are cancelled."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            # Uploads are tried again by `patience`, not by gRPC, whose own retries abort the process now and then when
            # a stream of messages breaks (1.81: "Check failed: pending == nullptr" in buffered_call.cc).
            retries = address != self.addresses.artifact
            channel = open_channel(address, tls=self._tls, max_message_bytes=self._max_message_bytes, retries=retries)
            self._channels[address] = channel
        return channel


def _max_message_bytes() -> int:
    """NNPM_MAX_MESSAGE_BYTES, as the services take it, or their default."""
    text = os.environ.get("NNPM_MAX_MESSAGE_BYTES", "")
    if not text:
        return MAX_MESSAGE_BYTES
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 31):
        raise InvalidArgument("INVALID_SETTINGS", f"NNPM_MAX_MESSAGE_BYTES is {text!r}, which is no number of bytes")
    return int(text)
