"""The runtime `polynomial`: a model is a JSON file with the coefficients of a polynomial, the constant one first."""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnpm.errors import FailedPrecondition
from nnpm_worker.runtime import RuntimeOptions, Signature, Tensors

if os.environ.get("POLYNOMIAL_IMPORTS"):  # for a test: when was this imported, and by which thread?
    with Path(os.environ["POLYNOMIAL_IMPORTS"]).open("a") as notes:
        notes.write(f"{os.getpid()} {threading.current_thread() is threading.main_thread()}\n")


class PolynomialRuntime:
    """See `nnpm_worker.runtime.Runtime`."""

    providers = ("CPU",)
    pure = True

    def __init__(self, options: RuntimeOptions) -> None:
        del options  # it needs no threads

    def load(self, path: Path, signature: Signature) -> "Polynomial":
        """Read the coefficients."""
        try:
            coefficients = np.asarray(json.loads(path.read_text())["coefficients"], np.float32)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FailedPrecondition("MODEL_LOAD_FAILED", f"{path.name} is no polynomial: {error}") from error
        return Polynomial(coefficients, signature)


class Polynomial:
    """See `nnpm_worker.runtime.Model` and `Steady`: one input, one output, each element for itself."""

    providers = ("CPU",)
    steady = True

    def __init__(self, coefficients: np.ndarray, signature: Signature) -> None:
        self._coefficients = coefficients
        self._input, self._output = signature.inputs[0].name, signature.outputs[0].name

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """By Horner's rule."""
        x = inputs[self._input]
        y = np.zeros_like(x)
        for coefficient in self._coefficients[::-1]:
            y = y * x + coefficient
        return {self._output: y}

    def close(self) -> None:
        """Nothing is held."""
