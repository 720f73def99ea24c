"""nnpm: the package manager and serving mesh for neural networks.

`nnpm.Client` and `nnpm.AsyncClient` are the public face, `nnpm.Batching` and `nnpm.Quota` what a deployment may be
told; they are loaded when first asked for, so that importing `nnpm` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnpm.client import AsyncClient, Batching, Client, Quota

__all__ = ["AsyncClient", "Batching", "Client", "Quota"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nnpm' has no attribute {name!r}")
    from nnpm import client  # noqa: PLC0415 (gRPC and numpy take half a second)

    return getattr(client, name)
