"""Whether requests to a model may be joined along axis 0: asked of the model itself, at load time.

A free leading axis is not yet a batch axis. Softmax over axis 0, a running sum along a sequence, a mean that loses the
axis: all take any number of rows, and each answers wrongly when strangers' rows are put together. A model is joined
only when, on seeded inputs of several kinds and sizes,

1. it answers the same bits when asked twice (nothing random in it);
2. f(a joined b) equals f(a) joined f(b) within rounding, because matrix products of other sizes round otherwise;
3. the answer for a's rows has the very same bits whatever b holds (also huge, infinite or NaN numbers), because at one
   size nothing rounds otherwise. This finds what 2 would take for rounding: a scale over the whole tensor, a mean with
   a tiny weight.

Every error, a missing axis, a differing shape: not joined. The largest join that was proven bounds the batch.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpm.errors import NnpmError
from nnpm_worker.probe_inputs import Sample, Sampler
from nnpm_worker.runtime import Model, Signature, Tensors

FIRST_SIZES: tuple[tuple[int, ...], ...] = ((1, 1), (1, 2), (3, 4))
"""Rows of the joins that every joined model has passed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rows` is the largest batch that is right; 1 = never join. `why` is for the log."""

    rows: int
    why: str


class Refuted(Exception):
    """Joining is wrong, or cannot be shown to be right."""


def probe(model: Model, signature: Signature, samples: Sequence[Tensors], most_rows: int, seconds: float) -> Verdict:
    """Find the largest batch, up to `most_rows`, that may be joined.

    Args:
        model: loaded.
        signature: of the model.
        samples: real inputs (the package's warm-up), which say what free inner axes look like; may be empty.
        most_rows: no more than this is tried.
        seconds: that it may take. What was proven until then holds; less than the first sizes is no proof.
    """
    rows = 1
    try:
        _check_signature(signature)
        trial = _Trial(model, time.monotonic() + seconds)
        sampler = _sampler(trial, signature, samples)
        for sizes in (*FIRST_SIZES, *_larger_sizes(most_rows)):
            _check_sizes(trial, sampler, sizes)
            if sizes not in FIRST_SIZES[:-1]:
                rows = sum(sizes)
    except _TimeIsUp:
        if rows == 1:
            return Verdict(1, f"it could not be proven within {seconds:g} s")
    except Refuted as reason:
        return Verdict(1, str(reason))
    return Verdict(min(rows, most_rows), "proven")


class _TimeIsUp(Exception):
    """No more may be tried."""


class _Trial:
    """The model as the probe runs it: until the time is up."""

    def __init__(self, model: Model, deadline: float) -> None:
        self._model = model
        self._deadline = deadline

    def run(self, inputs: Tensors) -> Tensors:
        """Raises NnpmError when the model refuses."""
        if time.monotonic() > self._deadline:
            raise _TimeIsUp
        return self._model.run(inputs, ())

    def joined(self, inputs: Tensors) -> Tensors:
        """Raises Refuted when the model refuses."""
        try:
            return self.run(inputs)
        except NnpmError as error:
            raise Refuted(f"it refuses joined what it takes alone: {error.message}") from error

    def alone(self, parts: Sequence[Sample], *, required: bool) -> list[Tensors] | None:
        """Each part's answer; None when the model does not take one, and need not."""
        try:
            return [self.run(part) for part in parts]
        except NnpmError as error:
            if required:
                raise Refuted(f"it refuses an input of its signature: {error.message}") from error
            return None


def _check_signature(signature: Signature) -> None:
    if not signature.inputs or not signature.outputs:
        raise Refuted("its signature is not known")
    for spec in (*signature.inputs, *signature.outputs):
        if spec.shape is not None and (not spec.shape or spec.shape[0] != -1):
            raise Refuted(f"{spec.name!r} has no free leading axis")
    if any(spec.shape is None for spec in signature.inputs):
        raise Refuted("an input has no rank")


def _larger_sizes(most_rows: int) -> list[tuple[int, ...]]:
    """Doubling totals up to the limit, each from uneven parts."""
    totals = []
    total = 16
    while total < most_rows:
        totals.append(total)
        total *= 2
    return [_parts(total) for total in (*totals, most_rows) if total > sum(FIRST_SIZES[-1])]


def _parts(total: int) -> tuple[int, ...]:
    half = total // 2 - 1
    return (1, 2, half - 2, total - half - 1)


def _sampler(trial: _Trial, signature: Signature, samples: Sequence[Tensors]) -> Sampler:
    """A sampler whose inner axes the model accepts: the warm-up's, else the first of some sizes that runs."""
    candidates = [Sampler.like(signature, sample) for sample in samples]
    candidates += [Sampler.with_inner(signature, inner) for inner in (8, 4, 16, 32, 64, 224, 1, 128, 256)]
    why = ""
    for sampler in candidates:
        try:
            trial.run(sampler.sample("plain", rows=1, seed=0))
        except NnpmError as error:
            why = error.message
        else:
            return sampler
        if not sampler.has_free_inner_axes:
            break
    raise Refuted(f"no input could be made that it takes: {why}")


def _check_sizes(trial: _Trial, sampler: Sampler, sizes: Sequence[int]) -> None:
    """Checks 1 to 3 at these sizes, for each kind of data that the model takes alone."""
    for seed, kind in enumerate(sampler.kinds):
        parts = [sampler.sample(kind, rows, seed=100 * seed + index) for index, rows in enumerate(sizes)]
        alone = trial.alone(parts, required=kind in sampler.required)
        if alone is None:
            continue
        joined = trial.joined(_join(parts))
        _equal_within_rounding(joined, alone, sizes)
        if kind == sampler.kinds[0]:
            _same_bits(joined, trial.joined(_join(parts)), "it answers differently when asked twice")
            _check_neighbours(trial, sampler, parts, joined)


def _check_neighbours(trial: _Trial, sampler: Sampler, parts: Sequence[Sample], joined: Tensors) -> None:
    """Check 3: with other neighbours after it, and then before it, a part's answer keeps its bits."""
    for kept in (0, len(parts) - 1):
        start = sum(_rows(part) for part in parts[:kept])
        rows = slice(start, start + _rows(parts[kept]))
        for seed, kind in enumerate(sampler.neighbour_kinds):
            others = [
                part if index == kept else sampler.sample(kind, _rows(part), seed=7000 + 10 * seed + index)
                for index, part in enumerate(parts)
            ]
            try:
                found = trial.run(_join(others))
            except NnpmError as error:
                # A neighbour that the model does not take even alone says nothing about joining.
                if trial.alone([part for index, part in enumerate(others) if index != kept], required=False) is None:
                    continue
                raise Refuted(f"it refuses joined what it takes alone: {error.message}") from error
            _same_bits(_part(joined, rows), _part(found, rows), "a row's answer depends on its neighbours")


def _join(parts: Sequence[Sample]) -> Sample:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _rows(part: Sample) -> int:
    return int(next(iter(part.values())).shape[0])


def _part(outputs: Tensors, rows: slice) -> Tensors:
    return {name: array[rows] for name, array in outputs.items()}


def _equal_within_rounding(joined: Tensors, alone: Sequence[Tensors], sizes: Sequence[int]) -> None:
    for name, whole in joined.items():
        if whole.ndim == 0 or whole.shape[0] != sum(sizes):
            raise Refuted(f"output {name!r} has shape {list(whole.shape)} for {sum(sizes)} rows")
        start = 0
        for outputs, rows in zip(alone, sizes, strict=True):
            if outputs[name].shape != (rows, *whole.shape[1:]):
                raise Refuted(f"output {name!r} has shape {list(outputs[name].shape)} for {rows} rows")
            if not _close(whole[start : start + rows], outputs[name]):
                raise Refuted(f"output {name!r} differs when requests are joined")
            start += rows


def _close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Equal up to rounding, for numbers that have any; exactly equal otherwise."""
    rounding = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}.get(one.dtype.name)
    if rounding is None:
        return bool(np.array_equal(one, other))
    wide, other_wide = one.astype(np.float64), other.astype(np.float64)
    finite = np.abs(other_wide[np.isfinite(other_wide)])
    # What rounds is the sum, not the small result of a cancellation: an element may be off by a share of the largest.
    slack = 0.01 * rounding * float(finite.max(initial=0.0))
    return bool(np.allclose(wide, other_wide, rtol=rounding, atol=slack, equal_nan=True))


def _same_bits(one: Tensors, other: Tensors, why: str) -> None:
    for name, array in one.items():
        if array.shape != other[name].shape or _bits(array) != _bits(other[name]):
            raise Refuted(f"{why} (output {name!r})")


def _bits(array: NDArray[Any]) -> object:
    return array.tolist() if array.dtype == object else array.tobytes()
