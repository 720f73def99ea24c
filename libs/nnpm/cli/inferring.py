"""`nnpm infer`: calling a deployed model from the shell."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output, harmless
from nnpm.cli.transfers import row_progress

if TYPE_CHECKING:
    from rich.console import Console

    from nnpm.client import AsyncClient, Inference
    from nnpm.mesh.trace_ring import Span

_SHOWN_ELEMENTS = 20


def infer(
    model: Annotated[str, typer.Argument(help="A deployment, a package, or PACKAGE@RANGE.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            metavar="NAME=FILE",
            help="An input: .npy, .npz, .json, or JSON itself; once for each.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", metavar="FILE", help="Write outputs to .npz, .npy or .json.", show_default=False),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option("--input", metavar="ROWS", help="Send every row of a .npz or .jsonl.", show_default=False),
    ] = None,
    rows_output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Where the rows' answers go: .npz, .jsonl.", show_default=False),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=1024, help="Rows under way at a time.")] = 16,
    version: Annotated[str, typer.Option("--version", help="An exact version that must answer.")] = "",
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, help="The call's deadline, seconds.")] = 60,
    trace: Annotated[bool, typer.Option("--trace", help="Print the call's trace tree with timings.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call a model: tensors in, tensors out.

    \b
    Examples:
      nnpm infer acme/tiny -i x=x.npy
      nnpm infer acme/tiny -i 'x=[[1, 2, 3, 4]]' --json
      nnpm infer acme/tiny -i inputs.npz -o outputs.npz --trace
      nnpm infer acme/tiny --input rows.jsonl --output answers.jsonl --concurrency 32

    A row of a .npz is an index along the first axis of its arrays; a row of a .jsonl is a line such as
    {"x": [1, 2, 3, 4]}.
    """
    import asyncio

    told = Output(as_json)
    if rows is not None:
        if inputs or trace or output is not None:
            raise typer.BadParameter("--input sends rows; -i, -o and --trace belong to a single call")
        if rows_output is None:
            raise typer.BadParameter("--input needs --output FILE")
        asyncio.run(_infer_rows(model, rows, rows_output, concurrency, data, told))
        return
    asyncio.run(_infer_once(model, inputs or [], output or rows_output, version, timeout, trace, data, told))


async def _infer_rows(
    model: str, source: Path, target: Path, concurrency: int, data: Path | None, output: Output
) -> None:
    import time

    from nnpm.cli import rows, tensor_files
    from nnpm.client import AsyncClient

    tensor_files.check_output(target, rows.ENDINGS)
    async with AsyncClient(data) as client:
        calls, joined = rows.read_rows(source, await client.info(model))
        started = time.monotonic()
        with row_progress(output, len(calls)) as on_row:
            answers = await rows.infer_rows(client, model, calls, concurrency, on_row)
        seconds = time.monotonic() - started
    rows.write_rows(target, answers, joined)
    versions = sorted({answer.version for answer in answers})
    output.done(
        {"rows": len(answers), "output": target, "seconds": round(seconds, 3), "versions": versions},
        f"{len(answers)} rows answered in {seconds:.1f} s ({len(answers) / max(seconds, 1e-9):.0f}/s), in {target}",
    )


async def _infer_once(
    model: str,
    inputs: list[str],
    target: Path | None,
    version: str,
    timeout: float,
    trace: bool,
    data: Path | None,
    output: Output,
) -> None:
    from nnpm.cli import rows, tensor_files
    from nnpm.client import AsyncClient

    if target is not None:
        tensor_files.check_output(target, (".npz", ".npy", ".json"))
    values = tensor_files.read_inputs(inputs)
    async with AsyncClient(data) as client:
        values = await _restored(client, model, version, values)
        call = partial(client.infer, model, values, version=version, timeout=timeout)
        answer, spans = await _traced(client, call, trace)
    document = rows.answer_value(answer)
    if target is not None:
        tensor_files.write_outputs(target, answer.outputs, document)
    if spans:
        document["trace"] = spans
    output.result(document, lambda screen: _show(screen, answer, target, spans))


async def _restored(client: "AsyncClient", model: str, version: str, values: dict[str, Any]) -> dict[str, Any]:
    """Arrays whose file could not say their datatype (.npy knows no BF16) get the one that the model declares."""
    import numpy as np

    from nnpm.client.inference import restored

    if not any(isinstance(value, np.ndarray) and value.dtype.kind == "V" for value in values.values()):
        return values
    declared = {spec.name: spec.datatype for spec in (await client.info(model, version)).inputs}
    return {
        name: restored(value, declared.get(name, "")) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


async def _traced(
    client: "AsyncClient", call: "Callable[[], Awaitable[Inference]]", wanted: bool
) -> "tuple[Inference, tuple[Span, ...]]":
    """The call under a sampled span: its trace from the mesh's ring when `wanted`, else sent to NNPM_OTLP_ENDPOINT."""
    import asyncio
    import os

    endpoint = client.addresses.traces if wanted else os.environ.get("NNPM_OTLP_ENDPOINT", "")
    if wanted and not endpoint:
        from nnpm.errors import FailedPrecondition

        raise FailedPrecondition(
            "TRACE_NOT_FOUND",
            f"{client.addresses.source} keeps no traces to print",
            hint="a mesh started with `nnpm up` does; elsewhere look into your own OTLP receiver",
        )
    if not endpoint:
        return await call(), ()
    from opentelemetry import trace

    from nnpm.mesh.traces import fetch_trace
    from nnpm.telemetry.traces import export

    flush = export("nnpm-client", endpoint, 1.0)
    try:
        with trace.get_tracer("nnpm.cli").start_as_current_span("nnpm infer") as span:
            answer = await call()
    finally:
        await asyncio.to_thread(flush)
    return answer, await fetch_trace(endpoint, f"{span.get_span_context().trace_id:032x}") if wanted else ()


def _show(screen: "Console", answer: "Inference", target: Path | None, spans: "tuple[Span, ...]") -> None:
    import numpy as np
    from rich.text import Text

    from nnpm.mesh.trace_tree import render_tree
    from nnpm.tensors.datatypes import of_array

    screen.print(Text(f"{answer.model} answered by version {answer.version}", style="dim"))
    for name, array in answer.outputs.items():
        heading = f"{name} {of_array(array).name} {list(array.shape)}"
        if target is None:
            told = np.array2string(array, max_line_width=screen.width, threshold=_SHOWN_ELEMENTS, separator=", ")
            screen.print(Text(harmless(f"{heading}\n{told}")), soft_wrap=True)
        else:
            screen.print(Text(harmless(f"{heading} in {target}")), soft_wrap=True)
    if spans:
        screen.print(render_tree(spans))
