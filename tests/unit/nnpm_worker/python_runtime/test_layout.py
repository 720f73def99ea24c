"""Tensors in shared memory, and what a process may say of them that is not so."""

import fcntl
import os
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nnpm_worker.python_runtime.area import Area
from nnpm_worker.python_runtime.frames import Garbled
from nnpm_worker.python_runtime.layout import lay, pick

MANY = 1 << 30


@pytest.fixture
def area() -> Iterator[Area]:
    area = Area.create("test")
    yield area
    area.close()


TENSORS: dict[str, np.ndarray] = {
    "fp32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(7, np.int64),
    "none": np.zeros((0, 5), np.uint8),
    "flags": np.array([True, False]),
    "bf16": np.array([1.5, -2], ml_dtypes.bfloat16),
    "texts": np.array([[b"", b"nnpm"]], np.object_),
    "strided": np.arange(10, dtype=np.int16)[::3],
    "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,
}


@pytest.mark.parametrize("copy", [True, False])
def test_tensors_of_every_kind_come_out_as_they_went_in(area: Area, copy: bool) -> None:
    found = pick(lay(TENSORS, area), area, most_bytes=MANY, copy=copy)
    assert list(found) == list(TENSORS)
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tolist() == array.tolist()
        assert not found[name].flags.writeable or array.dtype == object


def test_the_other_process_sees_them_through_its_own_descriptor_and_copies_outlast_the_next(area: Area) -> None:
    theirs = Area(os.dup(area.descriptor))
    try:
        told = lay({"x": np.ones(4, np.float32)}, area)
        kept = pick(told, theirs, most_bytes=MANY, copy=True)["x"]
        lay({"x": np.zeros(1 << 20, np.float32)}, area)
        assert kept.tolist() == [1, 1, 1, 1]
        assert pick(lay({"x": np.full(4, 2, np.float32)}, area), theirs, most_bytes=MANY, copy=False)["x"].sum() == 8
    finally:
        theirs.close()


def test_an_area_cannot_be_cut_off_by_whoever_has_it(area: Area) -> None:
    area.room(1 << 16)
    with pytest.raises(PermissionError):
        os.ftruncate(area.descriptor, 0)
    with pytest.raises(PermissionError):
        fcntl.fcntl(area.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


GOOD: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [2], "offset": 0, "size": 8}


@pytest.mark.parametrize(
    "told",
    [
        None,
        {"x": GOOD},
        ["x"],
        [GOOD, GOOD],
        [{**GOOD, "name": 1}],
        [{**GOOD, "datatype": "COMPLEX"}],
        [{**GOOD, "datatype": None}],
        [{**GOOD, "shape": [3]}],
        [{**GOOD, "shape": [-2]}],
        [{**GOOD, "shape": [True, 2]}],
        [{**GOOD, "shape": [2.0]}],
        [{**GOOD, "shape": [1 << 70]}],
        [{**GOOD, "shape": [1] * 100 + [2]}],
        [{**GOOD, "offset": -8}],
        [{**GOOD, "offset": 1 << 40}],
        [{**GOOD, "offset": 1 << 61}],
        [{**GOOD, "offset": "0"}],
        [{**GOOD, "size": 1 << 40, "shape": [1 << 38]}],
        [{**GOOD, "datatype": "BYTES", "shape": [1 << 30]}],
        [{**GOOD, "datatype": "BOOL", "shape": [8]}],
        [{"name": "x"}],
    ],
)
def test_what_a_process_says_is_believed_in_nothing(area: Area, told: object) -> None:
    area.room(4096)[:8] = b"\xff" * 8
    with pytest.raises(Garbled):
        pick(told, area, most_bytes=1 << 42, copy=True)


def test_no_more_is_read_than_it_may_have(area: Area) -> None:
    told = lay({name: np.zeros(100, np.uint8) for name in "abc"}, area)
    with pytest.raises(Garbled, match="more than 250 bytes"):
        pick(told, area, most_bytes=250, copy=True)
