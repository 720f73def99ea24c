from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nnpm.client.inference import restored, to_array
from nnpm.errors import InvalidArgument
from nnpm.tensors.datatypes import DATATYPES


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name not in ("BYTES", "BOOL")])
def test_numbers_become_what_the_model_declares(datatype: str) -> None:
    array = to_array("x", [[1, 2], [3, 4]], datatype)
    assert array.dtype == DATATYPES[datatype].dtype
    assert array.astype(np.float64).tolist() == [[1, 2], [3, 4]]


def test_texts_flags_scalars_and_empties() -> None:
    assert to_array("x", ["a", "b"], "BYTES").tolist() == ["a", "b"]
    assert to_array("x", [True, False], "BOOL").tolist() == [True, False]
    assert to_array("x", 1.5, "FP32").shape == ()
    assert to_array("x", [], "INT64").shape == (0,)
    assert to_array("x", [2**64 - 1, 0], "UINT64").tolist() == [2**64 - 1, 0]
    assert np.isnan(to_array("x", ["NaN", 1], "FP32")[0])


@pytest.mark.parametrize(
    ("value", "datatype"),
    [
        ([1.5], "INT32"),
        ([300], "UINT8"),
        ([-1], "UINT64"),
        (["a"], "FP32"),
        ([[1], [1, 2]], "FP32"),
        ([2**63], "INT64"),
        ([2**64, 0], "UINT64"),
        ([True, "a"], "INT8"),
    ],
)
def test_what_would_be_cut_or_guessed_is_refused(value: Any, datatype: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        to_array("x", value, datatype)
    assert caught.value.reason == "INVALID_TENSOR"
    assert "'x'" in str(caught.value)


def test_bf16_survives_npy_files() -> None:
    array = np.arange(4).astype(ml_dtypes.bfloat16)
    assert np.array_equal(restored(array.view("V2"), "BF16"), array)
    assert restored(np.ones(2, np.float32), "BF16").dtype == np.float32
