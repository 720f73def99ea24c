"""`python -m nnpm.mesh`: the supervisor in the background, as `nnpm up --detach` starts it."""

import argparse
import sys
from pathlib import Path

from nnpm.errors import NnpmError
from nnpm.mesh.background import Starter
from nnpm.mesh.plan import inherited_environment
from nnpm.mesh.up import UpOptions, run_here


def main() -> int:
    """Run the mesh, and tell the process that started this one when it is ready, or why it never will be."""
    parser = argparse.ArgumentParser(prog="python -m nnpm.mesh", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--port-base", type=int, default=None)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--timeout", type=float, required=True)
    arguments = parser.parse_args()
    options = UpOptions(arguments.data, arguments.port_base, arguments.workers, arguments.timeout)
    starter = Starter(arguments.ready_fd)
    try:
        run_here(options, inherited_environment(), lambda _: starter.tell(), stream=None)
    except NnpmError as error:
        starter.tell(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
