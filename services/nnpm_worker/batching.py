"""Which requests run together, and how they are joined and taken apart again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpm_worker.buffers import Buffers, is_aligned
from nnpm_worker.requests import Kind, Piece
from nnpm_worker.runtime import Tensors


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How a model is batched: up to that many rows together; 1 = never."""

    rows: int

    @property
    def joins(self) -> bool:
        """Whether requests are ever joined."""
        return self.rows > 1


def group(pieces: Iterable[Piece], plan: BatchPlan) -> list[list[Piece]]:
    """Split pieces into the runs to make: neighbours in a run agree in outputs, inputs, datatypes and inner axes.

    Only requests with one and the same number of rows, at least one, in every input are joined; a piece that does not
    fit is cut. The order of arrival is kept inside a run.
    """
    runs: list[list[Piece]] = []
    open_runs: dict[Kind, tuple[list[Piece], int]] = {}
    for piece in pieces:
        rows = piece.rows if plan.joins else 0
        if not 0 < rows < plan.rows:
            runs += [[single] for single in piece.singles()]
            continue
        run, taken = open_runs.get(piece.kind, ([], plan.rows))
        rest: Piece | None = piece
        while rest is not None:
            fits = min(rest.count, (plan.rows - taken) // rows)
            if fits == 0:
                run, taken = [], 0
                runs.append(run)
                continue
            whole = fits == rest.count
            run.append(rest if whole else rest.cut(0, fits))
            taken += fits * rows
            rest = None if whole else rest.cut(fits, rest.count - fits)
        open_runs[piece.kind] = (run, taken)
    return runs


def join(pieces: Sequence[Piece], buffers: Buffers) -> Tensors:
    """The inputs of one run, one request behind the other along the tensors' axis 0; valid until the next `join`."""
    return {name: _joined(name, [_flat(piece.inputs[name]) for piece in pieces], buffers) for name in pieces[0].inputs}


def _joined(name: str, arrays: Sequence[NDArray[Any]], buffers: Buffers) -> NDArray[Any]:
    first = arrays[0]
    if len(arrays) == 1 and (first.dtype == object or is_aligned(first)):
        return first
    if first.dtype == object:
        return np.concatenate(arrays)
    room = buffers.take(name, first.dtype, (sum([len(array) for array in arrays]), *first.shape[1:]))
    return np.concatenate(arrays, out=room)


def split(outputs: Tensors, pieces: Sequence[Piece]) -> list[Tensors] | None:
    """Each piece's share of the joined outputs, as views; None when the outputs do not have the rows of the inputs."""
    rows = [piece.count * piece.rows for piece in pieces]
    total = sum(rows)
    if any(array.ndim == 0 or array.shape[0] != total for array in outputs.values()):
        return None
    shares: list[Tensors] = []
    start = 0
    for count in rows:
        shares.append({name: array[start : start + count] for name, array in outputs.items()})
        start += count
    return shares


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """Requests one behind the other: axes 0 and 1 become one."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])
