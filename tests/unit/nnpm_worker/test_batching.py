import numpy as np
import pytest

from nnpm.queue.entry import Block, InputSpec
from nnpm.tensors.datatypes import of_array
from nnpm_worker.batching import BatchPlan, group, join, split
from nnpm_worker.buffers import Buffers
from nnpm_worker.requests import Job, Piece, piece_of

PLAN = BatchPlan(8)
JOB = Job(Block(1, 2, 1, 0, 0), 0, 0, 0)


def piece(
    rows: int,
    width: int = 4,
    *,
    count: int = 1,
    name: str = "x",
    dtype: type = np.float32,
    outputs: tuple[str, ...] = (),
) -> Piece:
    return made({name: np.full((count, rows, width), rows, dtype)}, outputs)


def made(inputs: dict[str, np.ndarray], outputs: tuple[str, ...] = ()) -> Piece:
    """Of arrays whose axis 0 is the request."""
    specs = [InputSpec(name, of_array(array).name, array.shape[1:]) for name, array in inputs.items()]
    return piece_of(JOB, len(next(iter(inputs.values()))), inputs, specs, outputs=outputs, model_name="model")


def rows_of(run: list[Piece]) -> int:
    return sum(each.count * each.rows for each in run)


def test_calls_of_the_same_kind_run_together_in_their_order() -> None:
    pieces = [piece(1), piece(2), piece(3)]
    assert group(pieces, PLAN) == [pieces]


@pytest.mark.parametrize(
    "other", [piece(1, 5), piece(1, name="z"), piece(1, dtype=np.float64), piece(1, outputs=("y",))], ids=str
)
def test_calls_that_differ_in_shape_name_datatype_or_outputs_never_meet(other: Piece) -> None:
    first, second = piece(1), piece(1)
    assert group([first, other, second], PLAN) == [[first, second], [other]]


def test_a_run_takes_no_more_rows_than_the_plan_says() -> None:
    assert [rows_of(run) for run in group([piece(3) for _ in range(5)], PLAN)] == [6, 6, 3]


def test_a_piece_is_cut_where_a_run_is_full() -> None:
    runs = group([piece(2, count=3), piece(2, count=5)], PLAN)
    assert [rows_of(run) for run in runs] == [8, 8]
    assert [[(each.offset, each.count) for each in run] for run in runs] == [[(0, 3), (0, 1)], [(1, 4)]]


@pytest.mark.parametrize("rows", [0, 8, 9, 100])
def test_no_rows_or_a_full_batch_run_alone(rows: int) -> None:
    runs = group([piece(1), piece(rows, count=2), piece(1)], PLAN)
    assert [[(each.offset, each.count, each.rows) for each in run] for run in runs[1:]] == [
        [(0, 1, rows)],
        [(1, 1, rows)],
    ]


def test_inputs_that_disagree_in_rows_run_alone() -> None:
    odd = made({"a": np.ones((2, 1, 2)), "b": np.ones((2, 2, 2))})
    scalar = made({"a": np.ones(2)})
    assert [[each.count for each in run] for run in group([odd, scalar], PLAN)] == [[1], [1], [1], [1]]


def test_nothing_is_joined_where_the_plan_forbids_it() -> None:
    runs = group([piece(1, count=2), piece(1)], BatchPlan(1))
    assert [[each.count for each in run] for run in runs] == [[1], [1], [1]]


def test_what_is_joined_comes_apart_again() -> None:
    pieces = [piece(1, count=2), piece(3), piece(2, count=3)]
    joined = join(pieces, Buffers())
    shares = split({"y": joined["x"] * 2}, pieces)
    assert shares is not None
    for each, share in zip(pieces, shares, strict=True):
        assert np.array_equal(share["y"].reshape(each.inputs["x"].shape), each.inputs["x"] * 2)


@pytest.mark.parametrize("shape", [(), (2, 4), (4, 6)])
def test_outputs_without_the_inputs_rows_are_not_split(shape: tuple[int, ...]) -> None:
    assert split({"y": np.zeros(shape)}, [piece(1), piece(1, count=2)]) is None
