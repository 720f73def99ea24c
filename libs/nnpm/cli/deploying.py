"""Serving packages: deployments and what they are doing."""

from typing import TYPE_CHECKING, Annotated

import typer

from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output, table

if TYPE_CHECKING:
    from nnpm.client import Deployment, ModelStatistics

DeploymentArgument = Annotated[
    str, typer.Argument(metavar="DEPLOYMENT", help="Its name, or its package if only one deployment serves that.")
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="Seconds that --wait waits.")]
MaxBatchSizeOption = Annotated[
    int | None,
    typer.Option("--max-batch-size", min=1, max=65_536, help="Rows joined at most; 1: never join.", show_default=False),
]
MaxQueueDelayOption = Annotated[
    float | None,
    typer.Option(
        "--max-queue-delay",
        metavar="MS",
        min=0,
        max=60_000,
        help="Milliseconds that a request may wait for company. Default: as long as it pays.",
        show_default=False,
    ),
]
PreferredOption = Annotated[
    list[int] | None,
    typer.Option(
        "--preferred-batch-size",
        metavar="ROWS",
        min=1,
        max=65_536,
        help="A batch of this size does not wait; may be repeated.",
        show_default=False,
    ),
]
MaxRateOption = Annotated[
    float | None,
    typer.Option(
        "--max-rate",
        metavar="PER_SECOND",
        min=0,
        help="Requests a second that all callers together may send; 0: any number.",
        show_default=False,
    ),
]
MaxInFlightOption = Annotated[
    int | None,
    typer.Option(
        "--max-in-flight",
        metavar="REQUESTS",
        min=0,
        help="Unanswered requests that all callers together may have; 0: any number.",
        show_default=False,
    ),
]


def deploy(
    reference: Annotated[
        str, typer.Argument(metavar="PACKAGE[@RANGE]", help="What to serve: latest, or a range, version or tag.")
    ],
    name: Annotated[
        str,
        typer.Option("--name", help="Name of the deployment. Default: the package with - for /.", show_default=False),
    ] = "",
    replicas: Annotated[
        int | None, typer.Option("--replicas", min=1, max=1000, help="Loaded copies. Default: 1.", show_default=False)
    ] = None,
    max_batch_size: MaxBatchSizeOption = None,
    max_queue_delay: MaxQueueDelayOption = None,
    preferred: PreferredOption = None,
    max_rate: MaxRateOption = None,
    max_in_flight: MaxInFlightOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is ready to answer.")] = False,
    timeout: TimeoutOption = 300,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a package, or change what a deployment serves; calls in flight are answered by the version they met.

    \b
    Examples:
      nnpm deploy acme/tiny --wait
      nnpm deploy 'acme/tiny@^1.2' --replicas 2 --wait
      nnpm deploy acme/tiny@champion --name tiny-canary
      nnpm deploy acme/tiny --max-rate 200 --max-in-flight 50
    """
    from nnpm.client import Batching, Client, Quota

    output = Output(as_json)
    delay = None if max_queue_delay is None else max_queue_delay / 1000
    batching = Batching(max_batch_size, delay, preferred or None)
    with Client(data) as client:
        done = client.deploy(
            reference,
            name=name,
            replicas=replicas,
            batching=batching,
            quota=Quota(max_rate, max_in_flight),
            wait=wait,
            timeout=timeout,
        )
    serving = f"serves {done.package}@{done.serving_version}" if done.serving_version else "is being loaded"
    text = f"{done.name} {serving} (revision {done.revision}, {done.state})"
    if done.state == "progressing":
        text += "; `nnpm ps` shows when it is ready, --wait waits"
    output.done(_value(done), text)


def undeploy(name: DeploymentArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Stop serving; calls in flight are answered first.

    \b
    Example:
      nnpm undeploy acme-tiny
    """
    from nnpm.client import Client

    with Client(data) as client:
        done = client.undeploy(name)
    Output(as_json).done(
        {"name": done.name, "package": done.package, "deleted": True}, f"{done.name} is served no more"
    )


def pause(name: DeploymentArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Unload a deployment until it is resumed; stays paused through restarts.

    \b
    Example:
      nnpm pause acme-tiny
    """
    from nnpm.client import Client

    with Client(data) as client:
        done = client.pause(name)
    Output(as_json).done(_value(done), f"{done.name} is paused; `nnpm resume {done.name}` loads it again")


def resume(
    name: DeploymentArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is ready to answer.")] = False,
    timeout: TimeoutOption = 300,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load a paused deployment again.

    \b
    Example:
      nnpm resume acme-tiny --wait
    """
    from nnpm.client import Client

    with Client(data) as client:
        done = client.resume(name, wait=wait, timeout=timeout)
    Output(as_json).done(_value(done), f"{done.name} is {done.state}")


def ps(
    stats: Annotated[bool, typer.Option("--stats", help="Count requests and times, too.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deployments and how they are.

    \b
    Examples:
      nnpm ps
      nnpm ps --stats
    """
    from nnpm.client import Client

    with Client(data) as client:
        found = client.deployments()
        counted = client.statistics() if stats else ()
    by_name = {one.model: one for one in counted}
    columns = ["DEPLOYMENT", "PACKAGE", "STATE", "VERSION", "REVISION", "READY"]
    if stats:
        columns += ["REQUESTS", "FAILED", "MEAN", "QUEUE"]
    rows = [_row(one) + (_counts(by_name.get(one.name)) if stats else []) + [one.message] for one in found]
    value: dict[str, object] = {"deployments": [_value(one) for one in found]}
    if stats:
        value["statistics"] = counted
    Output(as_json).result(value, lambda screen: table(screen, [*columns, ""], rows))


def _row(one: "Deployment") -> list[str]:
    return [
        one.name,
        f"{one.package}@{one.selector}",
        one.state,
        one.serving_version,
        str(one.revision),
        f"{one.ready_replicas}/{one.replicas}",
    ]


def _counts(told: "ModelStatistics | None") -> list[str]:
    if told is None:
        return [""] * 4
    return [str(told.requests), str(told.failures), f"{told.mean_ms:.2f} ms", f"{told.mean_queue_ms:.2f} ms"]


def _value(done: "Deployment") -> dict[str, object]:
    return {
        "name": done.name,
        "package": done.package,
        "selector": done.selector,
        "state": done.state,
        "revision": done.revision,
        "serving_revision": done.serving_revision,
        "serving_version": done.serving_version,
        "replicas": done.replicas,
        "ready_replicas": done.ready_replicas,
        "message": done.message,
        "reason": done.reason,
    }
