import numpy as np
import pytest

from nnpm_worker.batching import BatchPlan, group, join, row_count, split
from nnpm_worker.requests import Call

PLAN = BatchPlan(8)


def call(
    rows: int, width: int = 4, *, name: str = "x", dtype: type = np.float32, outputs: tuple[str, ...] = ()
) -> Call:
    return Call({name: np.full((rows, width), rows, dtype)}, outputs, "model", "")


def test_calls_of_the_same_kind_run_together_in_their_order() -> None:
    calls = [call(1), call(2), call(3)]
    assert group(calls, PLAN) == [calls]


@pytest.mark.parametrize(
    "other", [call(1, 5), call(1, name="z"), call(1, dtype=np.float64), call(1, outputs=("y",))], ids=str
)
def test_calls_that_differ_in_shape_name_datatype_or_outputs_never_meet(other: Call) -> None:
    first, second = call(1), call(1)
    assert group([first, other, second], PLAN) == [[first, second], [other]]


def test_a_run_takes_no_more_rows_than_the_plan_says() -> None:
    calls = [call(3) for _ in range(5)]
    assert [sum(row_count(each.inputs) for each in run) for run in group(calls, PLAN)] == [6, 6, 3]


@pytest.mark.parametrize("rows", [0, 8, 9, 100])
def test_no_rows_or_a_full_batch_run_alone(rows: int) -> None:
    odd = call(rows)
    assert group([call(1), odd, call(1)], PLAN)[1] == [odd]


def test_inputs_that_disagree_in_rows_run_alone() -> None:
    odd = Call({"a": np.ones((1, 2)), "b": np.ones((2, 2))}, (), "model", "")
    scalar = Call({"a": np.array(1.0)}, (), "model", "")
    assert group([odd, odd, scalar, scalar], PLAN) == [[odd], [odd], [scalar], [scalar]]


def test_nothing_is_joined_where_the_plan_forbids_it() -> None:
    calls = [call(1), call(1)]
    assert group(calls, BatchPlan(1)) == [[each] for each in calls]


def test_what_is_joined_comes_apart_again() -> None:
    calls = [call(1), call(3), call(2)]
    joined = join(calls)
    shares = split({"y": joined["x"] * 2}, calls)
    assert shares is not None
    for each, share in zip(calls, shares, strict=True):
        assert np.array_equal(share["y"], each.inputs["x"] * 2)


@pytest.mark.parametrize("shape", [(), (2, 4), (4, 6)])
def test_outputs_without_the_inputs_rows_are_not_split(shape: tuple[int, ...]) -> None:
    assert split({"y": np.zeros(shape)}, [call(1), call(2)]) is None
