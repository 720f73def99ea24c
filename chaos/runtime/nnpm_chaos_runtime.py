"""The runtime under chaos: y = 3 x + 1 on INT64 [n, 4], with a journal of what begins, on disk before it begins.

A row is (number of the call, mark, milliseconds, payload). Rows without the mark are warm-up and leave no trace.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpm.errors import FailedPrecondition
from nnpm_worker.runtime import RuntimeOptions, Signature, Tensors

WIDTH = 4
MARK = 0x6E6E_706D_0001
LETHAL = 0x6E6E_706D_0002
"""The mark of a row that its process dies of."""
JOURNAL = "NNPM_CHAOS_JOURNAL"
"""The environment variable that names the journals' folder; each process appends to `PID.journal` in it."""


def answer(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the model answers."""
    return x * np.int64(3) + np.int64(1)


class Chaos:
    """Runs are as slow as the slowest of their rows wants."""

    providers: tuple[str, ...] = ("CPU",)
    pure = True
    steady = False
    """What a run takes stands in its rows."""

    def __init__(self, options: RuntimeOptions) -> None:
        del options
        path = Path(os.environ[JOURNAL]) / f"{os.getpid()}.journal"
        self._journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def load(self, path: Path, signature: Signature) -> "Chaos":
        """Nothing of the file is needed."""
        del path, signature
        return self

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Notes what begins, then takes its time, or dies."""
        del outputs
        x: NDArray[Any] = inputs["x"]
        marked = x[(x[:, 1] == MARK) | (x[:, 1] == LETHAL)]
        if len(marked):
            numbers = " ".join(str(number) for number in dict.fromkeys(marked[:, 0].tolist()))
            os.write(self._journal, f"{time.monotonic():.6f} {numbers}\n".encode())
            if (marked[:, 1] == LETHAL).any():
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(float(marked[:, 2].max()) / 1000)
        return {"y": answer(x)}

    def close(self) -> None:
        """The journal stays open: a process loads models again and again."""


class Quick(Chaos):
    """All of its runs are short: a worker makes them where it makes everything else, on its event loop."""

    steady = True


class Never(Chaos):
    """A model of it never becomes ready."""

    def load(self, path: Path, signature: Signature) -> "Never":
        """Refuses."""
        del path, signature
        raise FailedPrecondition("MODEL_LOAD_FAILED", "this runtime never loads a model")
