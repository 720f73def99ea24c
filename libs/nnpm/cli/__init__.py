"""The command line `nnpm`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code (see `nnpm.cli.failures`)."""
    try:
        from nnpm.cli.app import run

        return run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # while the commands were still being loaded; later ones are told of by `run`
        return 130
