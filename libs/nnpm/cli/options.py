"""Options that every command takes, behind the command's name."""

from pathlib import Path
from typing import Annotated

import typer


def folder(text: str) -> Path:
    """The folder that an option names. An empty text (`--data "$UNSET"`) would mean the working directory."""
    if not text:
        raise typer.BadParameter("it is empty; write . for the working directory")
    return Path(text)


DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        parser=folder,
        metavar="DIR",
        help="Data folder of the mesh to talk to. Without it: NNPM_* settings, a profile, the default folder.",
        show_default=False,
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, errors too (on stderr).")]
