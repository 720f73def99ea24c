"""Options that every command takes, behind the command's name."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data folder of the mesh to talk to. Without it: NNPM_* settings, a profile, the default folder.",
        show_default=False,
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, errors too (on stderr).")]
