"""Shapes as they come from outside: checked before anything is allocated or multiplied."""

from collections.abc import Sequence

from nnpm.errors import InvalidArgument

MOST_DIMENSIONS = 32
"""numpy's own limit up to 1.x; ONNX models stay far below."""

MOST_ELEMENTS = 1 << 40
"""More than any message can carry, and far from overflowing 64 bits when multiplied by an item's size."""


def element_count(shape: Sequence[int]) -> int:
    """How many elements a shape has; 1 for a scalar's `[]`, 0 where any dimension is 0.

    Raises:
        InvalidArgument: INVALID_SHAPE for a negative dimension, too many of them, or an enormous product.
    """
    if len(shape) > MOST_DIMENSIONS:
        raise InvalidArgument("INVALID_SHAPE", f"{len(shape)} dimensions; at most {MOST_DIMENSIONS} are possible")
    product = 1
    for dimension in shape:
        if dimension < 0:
            raise InvalidArgument("INVALID_SHAPE", f"shape {list(shape)} has a negative dimension")
        # numpy multiplies what is not zero: a zero elsewhere does not excuse a product that it cannot take.
        product *= dimension or 1
    if product > MOST_ELEMENTS:
        raise InvalidArgument("INVALID_SHAPE", f"shape {list(shape)} is larger than any tensor can be")
    return 0 if 0 in shape else product
