"""Which requests run together, and how they are joined and taken apart again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nnpm_worker.requests import Call
from nnpm_worker.runtime import Tensors

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How a model is batched: up to that many rows together; 1 = never."""

    rows: int

    @property
    def joins(self) -> bool:
        """Whether requests are ever joined."""
        return self.rows > 1


def group(calls: Iterable[Call], plan: BatchPlan) -> list[list[Call]]:
    """Split calls into the runs to make: neighbours in a run agree in outputs, inputs, datatypes and inner axes.

    Only calls with one and the same number of rows, at least one, in every input are joined. The order of arrival is
    kept inside a run.
    """
    runs: list[list[Call]] = []
    open_runs: dict[Key, tuple[list[Call], int]] = {}
    for call in calls:
        rows = row_count(call.inputs) if plan.joins else 0
        if not 0 < rows < plan.rows:
            runs.append([call])
            continue
        key = _key(call)
        run, taken = open_runs.get(key, ([], 0))
        if not run or taken + rows > plan.rows:
            run, taken = [], 0
            runs.append(run)
        run.append(call)
        open_runs[key] = (run, taken + rows)
    return runs


def join(calls: Sequence[Call]) -> Tensors:
    """The inputs of several calls of one run, one behind the other along axis 0."""
    return {name: np.concatenate([call.inputs[name] for call in calls]) for name in calls[0].inputs}


def split(outputs: Tensors, calls: Sequence[Call]) -> list[Tensors] | None:
    """Each call's share of the joined outputs, as views; None when the outputs do not have the rows of the inputs."""
    rows = [row_count(call.inputs) for call in calls]
    total = sum(rows)
    if any(array.ndim == 0 or array.shape[0] != total for array in outputs.values()):
        return None
    shares: list[Tensors] = []
    start = 0
    for count in rows:
        shares.append({name: array[start : start + count] for name, array in outputs.items()})
        start += count
    return shares


def row_count(inputs: Tensors) -> int:
    """The size of axis 0 that all inputs share; 0 when there is none."""
    counts = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
    return counts.pop() if len(counts) == 1 else 0


def _key(call: Call) -> Key:
    # Names differ, so sorting never gets as far as comparing dtypes.
    inputs = sorted((name, array.dtype, array.shape[1:]) for name, array in call.inputs.items())
    return (call.outputs, *inputs)
