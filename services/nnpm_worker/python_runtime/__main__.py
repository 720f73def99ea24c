"""The process of a class: `python -m nnpm_worker.python_runtime PARENT MEMORY_BYTES CONNECTION INPUTS OUTPUTS`.

The last three are descriptors that it inherits: the socket that messages come over, and the areas that tensors lie in.
The first message names the class and is answered with what it says of itself; each further one is a run.
"""

import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from nnpm.errors import NnpmError
from nnpm.package.entry import Entry
from nnpm_worker.python_runtime import frames, layout
from nnpm_worker.python_runtime.area import Area
from nnpm_worker.python_runtime.confinement import confine
from nnpm_worker.python_runtime.frames import Message
from nnpm_worker.python_runtime.hosting import BadAnswer, Hosted, failure


def main(arguments: list[str]) -> None:
    """Confine, load, then answer until the worker is gone."""
    parent, memory_bytes, connection, inputs, outputs = map(int, arguments)
    confine(parent, memory_bytes)
    # Its own: whom the class starts shall not inherit the way to the worker.
    for descriptor in (connection, inputs, outputs):
        os.set_inheritable(descriptor, False)
    with socket.socket(fileno=connection) as worker:
        serve(worker, Area(inputs), Area(outputs), memory_bytes)


def serve(worker: socket.socket, inputs: Area, outputs: Area, most_bytes: int) -> None:
    """Load the class that the first message names; then run it for each further one."""
    hosted = _load(worker)
    try:
        while hosted is not None:
            order = frames.receive(worker)
            frames.send(worker, _answer(hosted, order, inputs, outputs, most_bytes))
    except ConnectionError:
        return  # the worker is gone, or wants no more


def _load(worker: socket.socket) -> Hosted | None:
    order = frames.receive(worker)
    try:
        hosted = Hosted.make(Path(order["folder"]), Entry.parse(order["entry"]))
    except Exception as error:  # noqa: BLE001 -- the class's own; the worker is told
        traceback.print_exc()
        frames.send(worker, {"fault": "class", "text": f"{type(error).__name__}: {error}"[:2_000]})
        return None
    frames.send(worker, {"batch_axis": hosted.batch_axis})
    return hosted


def _answer(hosted: Hosted, order: dict[str, Any], inputs: Area, outputs: Area, most_bytes: int) -> Message:
    try:
        found = hosted.run(layout.pick(order["run"], inputs, most_bytes=most_bytes, copy=False))
        return {"outputs": _laid(found, outputs)}
    except Exception as error:  # noqa: BLE001 -- the class's own; the worker is told
        return failure(error)


def _laid(found: dict[str, Any], outputs: Area) -> layout.Told:
    try:
        return layout.lay(found, outputs)
    except (OSError, MemoryError) as error:
        raise MemoryError("the outputs have no room") from error
    except NnpmError as error:
        raise BadAnswer(f"`run` returned what cannot be sent: {error}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
