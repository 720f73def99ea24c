"""The Python client: `Client` for plain programs, `AsyncClient` for those with an event loop."""

from nnpm.client.async_client import AsyncClient
from nnpm.client.client import Client
from nnpm.client.records import (
    Batching,
    Deployment,
    Inference,
    Installed,
    ModelInfo,
    ModelStatistics,
    Package,
    Progress,
    Published,
    Quota,
    Resolution,
    Tag,
    Version,
)
from nnpm.tensors.signature import TensorSpec

__all__ = [
    "AsyncClient",
    "Batching",
    "Client",
    "Deployment",
    "Inference",
    "Installed",
    "ModelInfo",
    "ModelStatistics",
    "Package",
    "Progress",
    "Published",
    "Quota",
    "Resolution",
    "Tag",
    "TensorSpec",
    "Version",
]
