"""A class of a package as its process runs it."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpm.package.entry import Entry
from nnpm_worker.python_runtime.frames import Message

BATCH_AXES = (None, 0, "none")


class Hosted:
    """An instance of the class, and what the worker is told of it."""

    def __init__(self, instance: Any) -> None:
        self._instance = instance
        self.batch_axis = getattr(instance, "batch_axis", None)

    @classmethod
    def make(cls, folder: Path, entry: Entry) -> "Hosted":
        """Import the class from the package's folder, and make one of it. Raises whatever the class raises.

        What is installed on the worker can be imported too; the package's own modules go before.
        """
        sys.path.insert(0, str(folder))
        kind = getattr(importlib.import_module(entry.module), entry.name, None)
        if not isinstance(kind, type) or not callable(getattr(kind, "run", None)):
            raise TypeError(f"{entry} is no class with a method `run`")
        hosted = cls(kind(folder))
        if hosted.batch_axis not in BATCH_AXES:
            raise TypeError(f'`batch_axis` of {entry} is {hosted.batch_axis!r}; it may be 0, "none" or None')
        return hosted

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """One run. Raises whatever the class raises, and TypeError when it returns something else than arrays."""
        outputs = self._instance.run(dict(inputs))
        if not isinstance(outputs, Mapping):
            raise BadAnswer(f"`run` returned a {type(outputs).__name__}, not a dict of arrays")
        return {str(name): np.asarray(array) for name, array in outputs.items()}


class BadAnswer(Exception):
    """The class returned what is no answer."""


def failure(error: BaseException) -> Message:
    """What the worker is told when the class raises: whose fault it is, and what it says."""
    text = " ".join(str(error).split())[:2_000]
    if isinstance(error, MemoryError):
        return {"fault": "memory", "text": text}
    if isinstance(error, (ValueError, TypeError)) and not isinstance(error, BadAnswer):
        return {"fault": "request", "text": text or type(error).__name__}
    named = text if isinstance(error, BadAnswer) else f"{type(error).__name__}: {text}"
    return {"fault": "class", "text": named.removesuffix(": ")}
