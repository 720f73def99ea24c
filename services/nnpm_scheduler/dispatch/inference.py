"""The Open Inference Protocol's servicer: inference goes to the transport as bytes, everything else is answered here.

Where KServe and Triton differ Triton's behaviour stands, since its clients are the stricter ones.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.message import Message

from nnpm.api.inference import inference_pb2 as pb
from nnpm.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable, Unimplemented
from nnpm_scheduler.dispatch import descriptions
from nnpm_scheduler.dispatch.model_stream import ModelStreams
from nnpm_scheduler.dispatch.routes import Routes
from nnpm_scheduler.dispatch.statistics import Statistics
from nnpm_scheduler.dispatch.transport_aio import AioTransport

SERVICE = "inference.GRPCInferenceService"
BARE_METHODS = (f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelStreamInfer")
"""These report their own errors, spans and figures."""

EXTENSIONS = ("model_configuration", "model_repository", "statistics")


class Repository(Protocol):
    """Control, as far as the inference protocol reaches it."""

    async def load(self, model: str) -> None:
        """Resumes a deployment, or deploys a package with defaults; returns when it is ready."""

    async def unload(self, model: str) -> None:
        """Pauses a deployment; returns when it takes no more calls."""

    def ready(self) -> bool:
        """Whether desired state can be read and written."""


class InferenceService:
    """One method an RPC."""

    def __init__(
        self,
        routes: Routes,
        statistics: Statistics,
        transport: AioTransport,
        repository: Repository,
        queue_ready: Callable[[], bool],
    ) -> None:
        self._routes = routes
        self._statistics = statistics
        self._transport = transport
        self._repository = repository
        self._queue_ready = queue_ready

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server; ModelInfer and ModelStreamInfer without any parsing."""
        handlers: dict[str, Any] = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._transport.infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(ModelStreams(self._transport).infer),
        }
        for name, (method, request) in self._parsed().items():
            handlers[name] = grpc.unary_unary_rpc_method_handler(method, request.FromString, _serialize)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])

    def ready(self) -> bool:
        """Whether calls can be queued and deployments looked up."""
        return self._queue_ready() and self._repository.ready()

    def _parsed(self) -> dict[str, tuple[Callable[..., Any], type[Message]]]:
        return {
            "ServerLive": (self.server_live, pb.ServerLiveRequest),
            "ServerReady": (self.server_ready, pb.ServerReadyRequest),
            "ModelReady": (self.model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self.server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": (self.model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": (self.model_config, pb.ModelConfigRequest),
            "ModelStatistics": (self.model_statistics, pb.ModelStatisticsRequest),
            "RepositoryIndex": (self.repository_index, pb.RepositoryIndexRequest),
            "RepositoryModelLoad": (self.repository_model_load, pb.RepositoryModelLoadRequest),
            "RepositoryModelUnload": (self.repository_model_unload, pb.RepositoryModelUnloadRequest),
        }

    async def server_live(self, _request: pb.ServerLiveRequest, _context: object) -> pb.ServerLiveResponse:
        """The process answers."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _request: pb.ServerReadyRequest, _context: object) -> pb.ServerReadyResponse:
        """Redis and SQL are in reach."""
        return pb.ServerReadyResponse(ready=self.ready())

    async def model_ready(self, request: pb.ModelReadyRequest, _context: object) -> pb.ModelReadyResponse:
        """A warm replica serves the model. As with Triton, what is unknown is not ready: a client may poll early."""
        try:
            return pb.ModelReadyResponse(ready=self._routes.resolve(request.name, request.version).serves)
        except (NotFound, Unavailable, FailedPrecondition):
            return pb.ModelReadyResponse(ready=False)

    async def server_metadata(self, _request: pb.ServerMetadataRequest, _context: object) -> pb.ServerMetadataResponse:
        """Who answers."""
        return pb.ServerMetadataResponse(name="nnpm", version=version("nnpm"), extensions=EXTENSIONS)

    async def model_metadata(self, request: pb.ModelMetadataRequest, _context: object) -> pb.ModelMetadataResponse:
        """Inputs and outputs of the revision that takes new calls."""
        route = self._routes.resolve(request.name, request.version)
        return descriptions.metadata(request.name, self._routes.deployment(request.name), route)

    async def model_config(self, request: pb.ModelConfigRequest, _context: object) -> pb.ModelConfigResponse:
        """How Triton would configure it."""
        route = self._routes.resolve(request.name, request.version)
        return pb.ModelConfigResponse(config=descriptions.config(request.name, route))

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, _context: object
    ) -> pb.ModelStatisticsResponse:
        """Of every version of one model, or of all."""
        deployments = [self._routes.deployment(request.name)] if request.name else self._routes.table.deployments
        found = [
            descriptions.statistics(request.name or deployment.name, route.version, self._statistics.of(route.id))
            for deployment in deployments
            for route in deployment.revisions
            if deployment.name and request.version in ("", route.version)
        ]
        if request.version and not found:
            raise NotFound("VERSION_NOT_SERVED", f"{request.name} is served in no version {request.version!r}")
        return pb.ModelStatisticsResponse(model_stats=found)

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, _context: object
    ) -> pb.RepositoryIndexResponse:
        """Every deployment, each with the versions that it serves or loads."""
        models = [model for d in self._routes.table.deployments if d.name for model in descriptions.index(d)]
        if request.ready:
            models = [model for model in models if model.state == descriptions.READY]
        return pb.RepositoryIndexResponse(models=models)

    async def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest, _context: object
    ) -> pb.RepositoryModelLoadResponse:
        """Resume, or deploy with defaults; answered when ready."""
        model = _named(request)
        if request.parameters:
            raise Unimplemented(
                "EXTENSION_NOT_SERVED",
                f"a load with parameters ({', '.join(sorted(request.parameters)[:8])}) is not served here",
                hint="publish a version and deploy it instead of sending a configuration or files",
            )
        await self._repository.load(model)
        return pb.RepositoryModelLoadResponse(model_name=model, isLoaded=True)

    async def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest, _context: object
    ) -> pb.RepositoryModelUnloadResponse:
        """Pause; answered when it takes no more calls."""
        model = _named(request)
        await self._repository.unload(model)
        return pb.RepositoryModelUnloadResponse(model_name=model, isUnloaded=True)


def _named(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """Triton numbers the model's name 2, KServe 1, which is Triton's repository."""
    model = request.model_name or request.repository_name
    if not model:
        raise InvalidArgument("MODEL_NOT_NAMED", "the request names no model")
    return model


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
