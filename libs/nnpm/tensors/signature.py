"""What a model takes and gives, as its version records it (`nnpm.api.registry.v1.Signature`)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: `datatype` as the Open Inference Protocol names it, `shape` with -1 where it is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    """An input that may be left out."""
    unranked: bool = False
    """The graph states no rank: any shape goes, and `shape` is empty."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs, in the graph's order."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
