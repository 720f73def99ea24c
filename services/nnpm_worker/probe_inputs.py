"""Seeded inputs of several kinds for a model's signature, for the probe and for warm-up."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpm.tensors.datatypes import by_name
from nnpm_worker.runtime import Signature, Tensors, TensorSpec

Sample = dict[str, NDArray[Any]]

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], NDArray[Any]]

# Real numbers and integers have kinds of their own; a kind sets both. Integers are often indices (of a vocabulary, of
# a class), so only 0 and 1 may be expected to be valid; the others are used where the model takes them.
_REAL: Mapping[str, Draw] = {
    "plain": lambda random, shape: random.standard_normal(shape),
    "zeros": lambda _random, shape: np.zeros(shape),
    "ragged": lambda random, shape: random.standard_normal(shape) * (random.random(shape) < 0.3),
    "positive": lambda random, shape: random.random(shape),
    "negative": lambda random, shape: -5 * random.random(shape),
    "large": lambda random, shape: 1000 * random.standard_normal(shape),
    "huge": lambda random, shape: 1e30 * random.standard_normal(shape),
    "infinite": lambda _random, shape: np.full(shape, np.inf),
    "nan": lambda _random, shape: np.full(shape, np.nan),
}
_WHOLE: Mapping[str, Draw] = {
    "plain": lambda random, shape: random.integers(0, 2, shape),
    "zeros": lambda _random, shape: np.zeros(shape, np.int64),
    "ragged": lambda random, shape: random.integers(0, 2, shape) * (random.random(shape) < 0.3),
    "positive": lambda random, shape: random.integers(0, 100, shape),
    "negative": lambda random, shape: random.integers(-100, 1, shape),
    "large": lambda random, shape: random.integers(0, 10_000, shape),
    "huge": lambda random, shape: random.integers(0, 1 << 40, shape),
    "infinite": lambda _random, shape: np.ones(shape, np.int64),
    "nan": lambda _random, shape: np.ones(shape, np.int64),
}
_WORDS = (b"", b"a", b"nnpm", "größer".encode(), b"0", b"-1.5", b"a longer text with spaces")


class Sampler:
    """Makes inputs of one set of inner shapes.

    Attributes:
        kinds: of data that a and b are made of.
        required: those that a model has to take; it may refuse the others.
        neighbour_kinds: of data that a neighbour is replaced by.
        has_free_inner_axes: whether another choice of inner axes exists.
    """

    kinds = ("plain", "zeros", "ragged", "positive", "negative", "large")
    required = ("plain", "ragged")
    neighbour_kinds = ("plain", "zeros", "large", "huge", "infinite", "nan")

    def __init__(self, signature: Signature, inner: Mapping[str, Shape]) -> None:
        self._specs = signature.inputs
        self._inner = inner
        self.has_free_inner_axes = any(-1 in (spec.shape or ())[1:] for spec in signature.inputs)

    @classmethod
    def like(cls, signature: Signature, sample: Tensors) -> "Sampler":
        """Inner axes as a real input has them."""
        return cls(signature, {name: array.shape[1:] for name, array in sample.items()})

    @classmethod
    def with_inner(cls, signature: Signature, size: int) -> "Sampler":
        """Every free inner axis has this size."""
        return cls(signature, {spec.name: free_set_to(spec, size)[1:] for spec in signature.inputs})

    def sample(self, kind: str, rows: int, seed: int) -> Sample:
        """Inputs with that many rows; the same arguments give the same inputs."""
        random = np.random.default_rng([seed, rows])
        return {spec.name: draw(spec, kind, (rows, *self._inner[spec.name]), random) for spec in self._specs}


def draw(spec: TensorSpec, kind: str, shape: Shape, random: np.random.Generator) -> NDArray[Any]:
    """Data of one kind in the input's datatype."""
    datatype = by_name(spec.datatype)
    if datatype.name == "BYTES":
        words: NDArray[Any] = np.empty(int(np.prod(shape)), np.object_)
        words[:] = [b"" if kind == "zeros" else _WORDS[index] for index in random.integers(0, len(_WORDS), words.size)]
        return words.reshape(shape)
    if datatype.name == "BOOL":
        return np.asarray(_WHOLE["zeros" if kind == "zeros" else "plain"](random, shape), np.bool_)
    if datatype.dtype.kind in "iu":
        limits = np.iinfo(datatype.dtype)
        whole = np.asarray(_WHOLE[kind](random, shape)).clip(limits.min, min(limits.max, 1 << 62))
        return np.asarray(whole, datatype.dtype)
    with np.errstate(over="ignore"):  # 1e30 is infinite in FP16, and may be
        return np.asarray(_REAL[kind](random, shape)).astype(datatype.dtype)


def zeros(signature: Signature, shapes: Mapping[str, Shape] | None = None) -> Sample:
    """A warm-up input: zeros of the given shapes, and of the declared ones, with 1 for what is free, elsewhere."""
    random = np.random.default_rng(0)
    return {
        spec.name: draw(spec, "zeros", tuple((shapes or {}).get(spec.name, free_set_to(spec, 1))), random)
        for spec in signature.inputs
    }


def free_set_to(spec: TensorSpec, size: int) -> Shape:
    """The declared shape with `size` for each free axis; an input without a rank gets one axis."""
    return tuple(
        size if dimension < 0 else dimension for dimension in (spec.shape if spec.shape is not None else (-1,))
    )
