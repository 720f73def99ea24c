"""A whole file of calls: every row sent, at most so many at a time, answers in the rows' order."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpm.cli import tensor_files
from nnpm.cli.tensor_json import Values, tensor_value
from nnpm.client import AsyncClient, Inference, ModelInfo
from nnpm.client.inference import restored, to_array
from nnpm.client.patience import Patience
from nnpm.errors import InvalidArgument, NnpmError, ResourceExhausted, Unavailable
from nnpm.package.files import write_atomically
from nnpm.tensors.datatypes import of_array

ENDINGS = (".npz", ".jsonl")


def read_rows(path: Path, info: ModelInfo) -> tuple[list[Values], bool]:
    """The calls in a file, and whether each got a leading axis of 1 that its row lacked.

    A row of a `.npz` is index i along the first axis of every array; of a `.jsonl`, a line.
    """
    ranks = {spec.name: len(spec.shape) for spec in info.inputs}
    datatypes = {spec.name: spec.datatype for spec in info.inputs}
    if path.suffix == ".jsonl":
        rows = [
            {name: _with_datatype(name, value, datatypes) for name, value in line.items()}
            for line in tensor_files.read_lines(path)
        ]
        widened = bool(rows) and all(np.ndim(value) == ranks.get(name, -1) - 1 for name, value in rows[0].items())
        return [{name: value[None] for name, value in row.items()} for row in rows] if widened else rows, widened
    if path.suffix != ".npz":
        raise InvalidArgument("INVALID_INPUT_FILE", f"{path}: unknown ending", hint="rows come from .npz or .jsonl")
    arrays = {name: restored(array, datatypes.get(name, "")) for name, array in tensor_files.read_arrays(path).items()}
    lengths = {name: len(array) if array.ndim else -1 for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or -1 in lengths.values():
        told = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "nothing"
        raise InvalidArgument("INVALID_INPUT_FILE", f"{path}: its arrays must have equally many rows, but hold {told}")
    whole = all(array.ndim == ranks.get(name, -1) + 1 for name, array in arrays.items())
    count = next(iter(lengths.values()))
    rows = [{name: array[i] if whole else array[i : i + 1] for name, array in arrays.items()} for i in range(count)]
    return rows, not whole


async def infer_rows(
    client: AsyncClient, model: str, rows: Sequence[Values], concurrency: int, on_row: Callable[[], None]
) -> list[Inference]:
    """Sends every row; a mesh that is busy or away is given time. Raises the first error, naming the row."""
    answers: list[Inference | None] = [None] * len(rows)
    pending = iter(range(len(rows)))

    async def lane() -> None:
        for index in pending:
            answers[index] = await _infer(client, model, rows[index], index)
            on_row()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(rows))):
                group.create_task(lane())
    except* NnpmError as faults:
        raise _first(faults) from None
    return [answer for answer in answers if answer is not None]


def write_rows(path: Path, answers: Sequence[Inference], joined: bool) -> None:
    """Writes all answers: a line each (`.jsonl`), or arrays over all rows (`.npz`).

    Args:
        joined: rows were given a leading axis, along which their outputs are put together again.
    """
    if path.suffix == ".jsonl":
        lines = [json.dumps(answer_value(answer), ensure_ascii=False, allow_nan=False) + "\n" for answer in answers]
        write_atomically(path, "".join(lines).encode())
        return
    outputs = {name: _over_rows(name, [answer[name] for answer in answers], joined) for name in _names(answers)}
    tensor_files.write_outputs(path, outputs, {})


def answer_value(answer: Inference) -> dict[str, Any]:
    """An answer for JSON."""
    return {
        "model": answer.model,
        "version": answer.version,
        "id": answer.id,
        "outputs": {name: tensor_value(array, of_array(array).name) for name, array in answer.outputs.items()},
    }


async def _infer(client: AsyncClient, model: str, row: Mapping[str, Any], index: int) -> Inference:
    patience = Patience()
    while True:
        try:
            return await client.infer(model, row)
        except (Unavailable, ResourceExhausted) as fault:
            if isinstance(fault, ResourceExhausted) and fault.retry_after is None:
                raise _in_row(fault, index) from fault
            await patience.wait(fault)
        except NnpmError as fault:
            raise _in_row(fault, index) from fault


def _in_row(fault: NnpmError, index: int) -> NnpmError:
    return type(fault)(
        fault.reason,
        f"row {index}: {fault.message}",
        hint=fault.hint,
        metadata=fault.metadata,
        violations=fault.violations,
        retry_after=fault.retry_after,
    )


def _first(faults: BaseExceptionGroup[NnpmError]) -> NnpmError:
    first = faults.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _names(answers: Sequence[Inference]) -> Sequence[str]:
    return list(answers[0].outputs) if answers else []


def _over_rows(name: str, arrays: Sequence[NDArray[Any]], joined: bool) -> NDArray[Any]:
    try:
        return np.concatenate(arrays) if joined else np.stack(arrays)
    except ValueError as fault:
        raise InvalidArgument(
            "INVALID_INPUT_FILE",
            f"output {name!r} differs in shape from row to row",
            hint="write a .jsonl file instead",
        ) from fault


def _with_datatype(name: str, value: Any, datatypes: Mapping[str, str]) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if name not in datatypes:
        raise InvalidArgument(
            "INVALID_TENSOR", f"the model has no input {name!r}", hint=f"its inputs are {', '.join(datatypes)}"
        )
    return to_array(name, value, datatypes[name])
