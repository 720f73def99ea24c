"""`nnpm health`: one service, asked for its health; what a container's health check runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output
from nnpm.errors import FailedPrecondition, InvalidArgument, Unavailable

# A scheduler has two doors for clients; both must be open.
LISTENERS = {
    "registry": ("registry",),
    "artifact": ("artifact",),
    "scheduler": ("scheduler", "control"),
    "worker": ("worker",),
}


def _service(text: str) -> str:
    if text not in LISTENERS:
        raise typer.BadParameter(f"{text!r} is no service; there are {', '.join(LISTENERS)}")
    return text


ServiceArgument = Annotated[
    str, typer.Argument(parser=_service, metavar="SERVICE", help="registry, artifact, scheduler or worker.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Ask there. Without it: where NNPM_<SERVICE>_LISTEN says that this machine's own listens, or the mesh's.",
        show_default=False,
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long the answer may take.")
]


def health(
    service: ServiceArgument,
    *,
    address: AddressOption = None,
    timeout: TimeoutOption = 3.0,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one service for its health over gRPC; exits with 5 unless it serves.

    Containers' health checks run this: with NNPM_<SERVICE>_LISTEN set, it asks the service beside it. Where services
    have TLS, name one of the certificate's hosts in --address.

    \b
    Examples:
      nnpm health registry
      nnpm health scheduler --address scheduler.example:8001
    """
    from importlib.util import find_spec

    if find_spec("grpc_health") is None:
        raise FailedPrecondition(
            "SERVICES_NOT_INSTALLED",
            "gRPC's health protocol is not installed here: grpc_health cannot be imported",
            hint="pip install 'nnpm[service]'",
        )
    import asyncio

    from nnpm.rpc.health import is_serving
    from nnpm.rpc.tls import Tls

    asked = (address,) if address else _addresses(service, data, os.environ)
    tls = Tls.from_environment(os.environ)
    for each in asked:
        if not asyncio.run(is_serving(each, timeout, tls=tls)):
            raise Unavailable(
                "NOT_SERVING", f"{service} at {each} is not serving", metadata={"service": service, "address": each}
            )
    Output(as_json).done({"service": service, "addresses": asked, "serving": True}, f"{service} is serving")


def _addresses(service: str, data: Path | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where to ask: the service beside us, as its own settings say, else that of the mesh that clients would find."""
    from nnpm.mesh.find import find_mesh
    from nnpm.rpc.health import own_address

    names = LISTENERS[service]
    listens = [environ.get(f"NNPM_{name.upper()}_LISTEN", "") for name in names]
    if data is None and listens[0]:
        return tuple(own_address(listen) for listen in listens if listen)
    if service == "worker":
        raise InvalidArgument(
            "INVALID_SETTINGS",
            "where the worker answers health is not known",
            hint="set NNPM_WORKER_LISTEN as the worker's own is set, or give --address",
        )
    mesh = find_mesh(data, environ)
    return tuple(getattr(mesh, name) for name in names)
