"""The inspecting process: `python -m nnpm_registry.inspection PARENT MEMORY_BYTES CPU_SECONDS`.

Reads one line of JSON, `{"path": ..., "files": {path: size}}`, from its standard input; asks for pieces of the model
and answers with `{"report": ...}` on its standard output (see `pieces`). Both are one socket.
"""

import json
import os
import sys
from typing import Any, BinaryIO

from nnpm_registry.inspection.limits import confine


def main(arguments: list[str]) -> None:
    """Confine, read, inspect, answer."""
    parent, memory_bytes, cpu_seconds = map(int, arguments)
    confine(parent, memory_bytes, cpu_seconds)
    answers = sys.stdin.buffer
    with _own_standard_output() as asks:
        order = json.loads(answers.readline())
        report = _report(order, asks, answers)
        asks.write(json.dumps({"report": report}).encode() + b"\n")


def _own_standard_output() -> BinaryIO:
    """The way to the registry, out of reach of libraries that print."""
    pipe = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return os.fdopen(pipe, "wb")


def _report(order: dict[str, Any], asks: BinaryIO, answers: BinaryIO) -> Any:
    # Imported under the limits: what it takes counts.
    from nnpm_registry.inspection.inspect import inspect  # noqa: PLC0415
    from nnpm_registry.inspection.pieces import PiecedFile  # noqa: PLC0415
    from nnpm_registry.inspection.report import to_json  # noqa: PLC0415

    path, files = order["path"], order["files"]
    return to_json(inspect(PiecedFile(asks, answers, files[path]), path, files))


if __name__ == "__main__":
    main(sys.argv[1:])
