"""A progress bar with rate, for whoever watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnpm.cli.output import Output, console

if TYPE_CHECKING:
    from nnpm.client.records import Progress

_WORDS = {"hash": "hashing", "upload": "uploading", "download": "downloading", "check": "checking the model"}


@contextmanager
def transfer_progress(output: Output) -> "Iterator[Callable[[Progress], None]]":
    """A callback that draws one bar a stage on a terminal; nothing elsewhere, and nothing with --json."""
    screen = console(stderr=True)
    if output.as_json or not screen.is_terminal:
        yield lambda _: None
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description:>18}"),
        bars.BarColumn(complete_style="cyan", finished_style="green"),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=screen) as drawn:
        tasks: dict[str, bars.TaskID] = {}

        def show(state: "Progress") -> None:
            if state.stage not in tasks:
                tasks[state.stage] = drawn.add_task(_WORDS[state.stage], total=state.total)
            drawn.update(tasks[state.stage], completed=state.done, total=state.total)

        yield show


@contextmanager
def row_progress(output: Output, total: int) -> Iterator[Callable[[], None]]:
    """A callback to be called once a row."""
    screen = console(stderr=True)
    if output.as_json or not screen.is_terminal:
        yield lambda: None
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description:>18}"),
        bars.BarColumn(complete_style="cyan", finished_style="green"),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.speed} rows/s", style="red"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=screen) as drawn:
        task = drawn.add_task("inferring", total=total)
        yield lambda: drawn.advance(task)
