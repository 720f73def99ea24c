"""`nnpm up`, `down`, `status`, `logs`: the mesh on this machine."""

import os
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from nnpm.cli.failures import UNAVAILABLE
from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output, table
from nnpm.errors import FailedPrecondition

if TYPE_CHECKING:
    from rich.console import Console

    from nnpm.mesh.state import MeshState
    from nnpm.mesh.up import UpOptions

PortBaseOption = Annotated[
    int | None,
    typer.Option(
        "--port-base",
        metavar="P",
        help="Listen on P (inference), P+1 (registry), P+2 (artifact), P+3 (deployments); 0 takes free ports.",
        show_default="8001, 8101, 8102, 8103",
    ),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", metavar="N", min=0, max=999, help="How many inference workers to start.")
]
DetachOption = Annotated[
    bool, typer.Option("--detach", "-d", help="Go on in the background; return when everything is healthy.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=1, help="How long the start may take.")
]
ServiceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[SERVICE]", help="redis, registry, artifact, scheduler-0, worker-0, ..., or mesh; all without it."
    ),
]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on with the lines that come.")]
LinesOption = Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many lines to begin with.")]


def up(
    *,
    data: DataOption = None,
    port_base: PortBaseOption = None,
    workers: WorkersOption = 1,
    detach: DetachOption = False,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Start the whole mesh on this machine: Redis, registry, artifact, scheduler and workers.

    Ctrl-C stops it, a second one at once; what it stored stays.

    \b
    Examples:
      nnpm up
      nnpm up --data ./lab --port-base 9000 --workers 2 --detach
    """
    _require_services()
    from nnpm.mesh.background import run_in_background
    from nnpm.mesh.find import data_folder
    from nnpm.mesh.plan import inherited_environment
    from nnpm.mesh.up import UpOptions, run_here

    output = Output(as_json)
    options = UpOptions(data_folder(data), port_base, workers, timeout)
    if detach:
        state = run_in_background(options, os.environ)
        _show_ready(output, options, state, detached=True)
        return
    run_here(
        options,
        inherited_environment(),
        lambda state: _show_ready(output, options, state, detached=False),
        sys.stderr,
    )


def down(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Stop the mesh of a data folder, and wait until it is gone; what it stored stays.

    That no mesh runs there is no error.
    """
    from nnpm.mesh.data_folder import DataFolder
    from nnpm.mesh.down import stop_mesh
    from nnpm.mesh.find import data_folder

    folder = DataFolder.at(data_folder(data))
    stopped = stop_mesh(folder)
    text = f"stopped the mesh in {folder.root}" if stopped else f"no mesh runs in {folder.root}"
    Output(as_json).done({"stopped": stopped, "data": str(folder.root)}, text)


def status(*, data: DataOption = None, as_json: JsonOption = False) -> int:
    """Ask every process of the mesh for its health; exits with 5 unless all are healthy."""
    _require_services()
    import asyncio

    from nnpm.mesh.data_folder import DataFolder
    from nnpm.mesh.find import data_folder
    from nnpm.mesh.status import mesh_status
    from nnpm.rpc.tls import Tls

    folder = DataFolder.at(data_folder(data))
    found = asyncio.run(mesh_status(folder, tls=Tls.from_environment(os.environ)))

    def render(screen: "Console") -> None:
        if not found.services:
            screen.print(f"no mesh runs in {folder.root}\nhint: nnpm up --data {folder.root}", soft_wrap=True)
            return
        rows = [
            (service.name, service.pid or "-", service.address, "healthy" if service.healthy else "NOT HEALTHY")
            for service in found.services
        ]
        table(screen, ("PROCESS", "PID", "ADDRESS", "HEALTH"), rows)

    Output(as_json).result(found.as_json(), render)
    return 0 if found.healthy else UNAVAILABLE


def logs(
    service: ServiceArgument = None,
    *,
    data: DataOption = None,
    follow: FollowOption = False,
    lines: LinesOption = 100,
    as_json: JsonOption = False,
) -> None:
    """Show what the processes of the mesh have logged, one of them or all.

    \b
    Examples:
      nnpm logs
      nnpm logs worker-0 -f
    """
    import json

    from nnpm.mesh.data_folder import DataFolder
    from nnpm.mesh.find import data_folder
    from nnpm.mesh.log_output import LogConsole
    from nnpm.mesh.log_reading import LogLine, LogReader, log_names

    folder = DataFolder.at(data_folder(data))
    names = (service,) if service else log_names(folder)
    reader = LogReader(folder, names, lines)
    console = LogConsole(sys.stdout, names)

    def show(line: LogLine) -> None:
        if as_json:
            typer.echo(json.dumps({"process": line.name, "line": line.text}))
        else:
            console.show(line.name, line.text)

    for line in reader.last():
        show(line)
    if not follow:
        return
    try:
        for line in reader.follow():
            show(line)
    except KeyboardInterrupt:  # the way to end it
        return


def _require_services() -> None:
    """The mesh needs more than the bare package; say so before an import fails."""
    from importlib.util import find_spec

    missing = [name for name in ("grpc_health", "redis", "sqlalchemy", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise FailedPrecondition(
            "SERVICES_NOT_INSTALLED",
            f"the mesh's services are not installed here: {', '.join(missing)} cannot be imported",
            hint="pip install 'nnpm[all]'",
        )


def _show_ready(output: Output, options: "UpOptions", state: "MeshState", *, detached: bool) -> None:
    from nnpm.mesh.data_folder import DataFolder, default_data_folder

    root = DataFolder.at(options.data).root
    processes = [{"name": process.name, "pid": process.pid, "address": process.address} for process in state.processes]
    found = {"data": str(root), "addresses": asdict(state.addresses), "services": processes}
    chosen = "" if options.data == default_data_folder() else f"  export NNPM_DATA={shlex.quote(str(root))}\n"
    text = f"""
the mesh is up: {len(processes)} processes, all healthy

  inference    {state.addresses.scheduler}  (Open Inference Protocol v2 over gRPC)
  deployments  {state.addresses.control}
  registry     {state.addresses.registry}
  artifact     {state.addresses.artifact}
  data         {root}
  logs         {root / "logs"}

try next{"" if detached else " in another terminal"}:
{chosen}  nnpm publish model.onnx --name me/model --version 1.0.0 --license Apache-2.0
  nnpm deploy me/model --wait
  nnpm infer me/model -i INPUT=input.npy --trace
  nnpm status; nnpm logs -f
{"  nnpm down" if detached else "Ctrl-C stops it; what it stored stays."}
"""
    output.done(found, text)
    sys.stdout.flush()
