import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from nnpm.cli.tensor_json import named_values, parse, tensor_value, value_of
from nnpm.errors import InvalidArgument
from nnpm.tensors.datatypes import DATATYPES, of_array

ARRAYS: list[NDArray[Any]] = [
    *(np.array([[0, 1], [2, 3]]).astype(one.dtype) for one in DATATYPES.values() if one.name not in ("BYTES", "BOOL")),
    np.array([True, False]),
    np.array(3.5, np.float32),
    np.zeros((0, 4), np.int64),
    np.array([np.nan, np.inf, -np.inf, 0.1], np.float64),
    np.array([0.1, np.nan]).astype(ml_dtypes.bfloat16),
    np.array([b"text", "ünï".encode(), b""], np.object_),
    np.array([b"\xff\x00", b"\0"], np.object_),
    np.array([2**63 + 1], np.uint64),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}-{array.shape}")
def test_a_tensor_survives_json(array: NDArray[Any]) -> None:
    text = json.dumps(tensor_value(array, of_array(array).name), allow_nan=False)
    again = value_of(json.loads(text), "test")
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    if array.dtype == np.object_:
        assert [one if isinstance(one, bytes) else one.encode() for one in again] == array.tolist()
    else:
        assert np.array_equal(
            again.view(np.uint8) if array.ndim else again, array.view(np.uint8) if array.ndim else array
        )


def test_lists_stay_lists_until_the_model_says_what_they_are() -> None:
    assert named_values({"x": [[1, 2]], "y": {"data": [1, 2, 3, 4], "shape": [2, 2]}}, "test") == {
        "x": [[1, 2]],
        "y": [[1, 2], [3, 4]],
    }


@pytest.mark.parametrize(
    "value",
    [
        {"shape": [1]},
        {"data": [1], "datatype": "FLOAT"},
        {"data": [1], "shape": [2]},
        {"data": ["?"], "encoding": "base64"},
        {"data": [1], "datatype": "FP32", "shape": "x"},
        {"data": [[1], [1, 2]], "datatype": "FP32"},
    ],
)
def test_what_is_no_tensor_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        value_of(value, "test")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_what_is_no_json_is_refused_and_names_its_place(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"rows\.jsonl, line 3"):
        parse(text, "rows.jsonl, line 3")
