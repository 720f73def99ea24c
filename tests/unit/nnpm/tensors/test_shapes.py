import numpy as np
import pytest

from nnpm.errors import InvalidArgument
from nnpm.tensors.shapes import element_count


@pytest.mark.parametrize(("shape", "count"), [((), 1), ((0,), 0), ((3, 0, 5), 0), ((2, 3), 6)])
def test_elements_are_counted_for_scalars_and_empty_tensors_too(shape: tuple[int, ...], count: int) -> None:
    assert element_count(shape) == count


@pytest.mark.parametrize(
    "shape",
    [(-1,), (2, -3), (0, -1), (1 << 62,), (1 << 33, 1 << 33), (0, 1 << 62), (1,) * 33, (1 << 32, 1 << 32, 0)],
)
def test_impossible_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument) as error:
        element_count(shape)
    assert error.value.reason == "INVALID_SHAPE"


@pytest.mark.parametrize("shape", [(0, 1 << 40), (1 << 20, 0, 1 << 20), (1 << 39, 0)])
def test_the_largest_shapes_that_are_taken_are_possible_for_every_datatype(shape: tuple[int, ...]) -> None:
    count = element_count(shape)
    assert np.frombuffer(b"", np.float64).reshape(shape).size == count == 0
