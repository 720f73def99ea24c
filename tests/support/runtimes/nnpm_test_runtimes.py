"""Two runtimes for tests, for a model y = x with x: FP32 [n, 1]; this folder on PYTHONPATH is all a worker needs."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from nnpm_worker.runtime import RuntimeOptions, Signature, Tensors

LETHAL = 13.0
"""What makes `kill` end its process."""


class _Runtime:
    """What both have in common: they run on the CPU and need nothing from the file."""

    providers: tuple[str, ...] = ("CPU",)
    pure = True

    def __init__(self, options: RuntimeOptions) -> None:
        del options

    def close(self) -> None:
        """Nothing is held."""


class Sleep(_Runtime):
    """Answers its input after as many seconds as the largest element says."""

    def load(self, path: Path, signature: Signature) -> "Sleep":
        return self

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        time.sleep(max(0.0, float(inputs["x"].max(initial=0.0))))
        return {"y": inputs["x"]}


class Kill(_Runtime):
    """Answers its input, unless 13 is in it: then the process dies as by a crash."""

    def load(self, path: Path, signature: Signature) -> "Kill":
        return self

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        if (inputs["x"] == LETHAL).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return {"y": inputs["x"]}
