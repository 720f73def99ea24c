import json
from pathlib import Path

import numpy as np
import pytest

from nnpm.cli.rows import read_rows, write_rows
from nnpm.client import Inference, ModelInfo, TensorSpec
from nnpm.errors import InvalidArgument

BATCHED = ModelInfo("m", ("1.0.0",), "onnx", (TensorSpec("x", "FP32", (-1, 4)),), ())
FIXED = ModelInfo("m", ("1.0.0",), "onnx", (TensorSpec("x", "FP32", (4,)),), ())
DATA = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_a_row_of_arrays_keeps_the_rank_that_the_model_wants(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=DATA)
    rows, joined = read_rows(tmp_path / "rows.npz", BATCHED)
    assert joined
    assert [row["x"].tolist() for row in rows] == [[row] for row in DATA.tolist()]
    rows, joined = read_rows(tmp_path / "rows.npz", FIXED)
    assert not joined
    assert [row["x"].tolist() for row in rows] == DATA.tolist()


def test_a_line_may_leave_the_batch_axis_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"x": row}) + "\n" for row in DATA.tolist()))
    rows, joined = read_rows(path, BATCHED)
    assert joined
    assert rows[1]["x"].tolist() == [DATA[1].tolist()]
    assert rows[1]["x"].dtype == np.float32
    path.write_text(json.dumps({"x": DATA.tolist()}) + "\n")
    rows, joined = read_rows(path, BATCHED)
    assert not joined
    assert rows[0]["x"].shape == (3, 4)


def test_arrays_of_unequal_length_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=DATA, y=DATA[:2])
    with pytest.raises(InvalidArgument, match="equally many"):
        read_rows(tmp_path / "rows.npz", BATCHED)
    (tmp_path / "rows.csv").write_text("1")
    with pytest.raises(InvalidArgument):
        read_rows(tmp_path / "rows.csv", BATCHED)


def test_unknown_inputs_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"z": [1]}\n')
    with pytest.raises(InvalidArgument) as caught:
        read_rows(tmp_path / "rows.jsonl", BATCHED)
    assert "x" in caught.value.hint


def test_answers_are_written_in_their_order(tmp_path: Path) -> None:
    answers = [Inference("m", "1.0.0", "", {"y": row[None]}) for row in DATA]
    write_rows(tmp_path / "o.npz", answers, joined=True)
    assert np.array_equal(np.load(tmp_path / "o.npz")["y"], DATA)
    write_rows(tmp_path / "p.npz", answers, joined=False)
    assert np.load(tmp_path / "p.npz")["y"].shape == (3, 1, 4)
    write_rows(tmp_path / "o.jsonl", answers, joined=True)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["outputs"]["y"]["data"] for line in lines] == [[row] for row in DATA.tolist()]


def test_answers_of_different_shapes_need_lines(tmp_path: Path) -> None:
    answers = [Inference("m", "1.0.0", "", {"y": np.zeros(size)}) for size in (1, 2)]
    with pytest.raises(InvalidArgument) as caught:
        write_rows(tmp_path / "o.npz", answers, joined=False)
    assert "jsonl" in caught.value.hint
