import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnpm.cli.tensor_files import check_output, read_inputs, read_lines, write_outputs
from nnpm.errors import InvalidArgument, NnpmError, NotFound

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.savez("one.npz", anything=X)
    np.savez("two.npz", x=X, y=X + 1)
    Path("x.json").write_text(json.dumps(X.tolist()))
    Path("both.json").write_text(json.dumps({"x": X.tolist(), "y": [1]}))
    Path("tensor.json").write_text(json.dumps({"datatype": "FP32", "shape": [2, 3], "data": X.tolist()}))
    return tmp_path


@pytest.mark.parametrize(
    "option",
    ["x=x.npy", "x=one.npz", "x=two.npz", "x=x.json", "x=both.json", "x=tensor.json", "x=" + json.dumps(X.tolist())],
)
def test_an_input_comes_from_any_of_them(files: Path, option: str) -> None:
    value = read_inputs([option])["x"]
    assert np.array_equal(np.asarray(value, np.float32), X)


@pytest.mark.parametrize("option", ["two.npz", "both.json"])
def test_a_file_can_bring_several_inputs(files: Path, option: str) -> None:
    assert set(read_inputs([option])) == {"x", "y"}


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["x=missing.npy"], NotFound),
        (["x=[1, 2"], NotFound),
        (["x.npy"], InvalidArgument),
        (["x=x.npy", "x=x.json"], InvalidArgument),
        (["x=x.npy", "two.npz"], InvalidArgument),
        (["z=two.npz"], InvalidArgument),
        (["missing.npz"], NotFound),
        (["x=" + "9" * 5000], InvalidArgument),
        (["x=broken.npy"], InvalidArgument),
        (["x=broken.npz"], InvalidArgument),
        (["x=broken.json"], InvalidArgument),
        (["x=pickled.npy"], InvalidArgument),
    ],
)
def test_what_cannot_be_read_is_said(files: Path, options: list[str], kind: type[NnpmError]) -> None:
    for name in ("broken.npy", "broken.npz", "broken.json"):
        Path(name).write_bytes(b"\xff\xfe?")
    np.save("pickled.npy", np.array([{"a": 1}]), allow_pickle=True)
    if options == ["x=" + "9" * 5000]:
        with pytest.raises(NnpmError):
            read_inputs(options)
        return
    with pytest.raises(kind):
        read_inputs(options)


def test_lines_are_calls(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"x": [1]}\n\n{"x": [2]}\n')
    assert read_lines(tmp_path / "rows.jsonl") == [{"x": [1]}, {"x": [2]}]
    (tmp_path / "rows.jsonl").write_text('{"x": [1]}\n[2]\n')
    with pytest.raises(InvalidArgument, match="line 2"):
        read_lines(tmp_path / "rows.jsonl")


def test_outputs_are_written_as_the_ending_says(tmp_path: Path) -> None:
    outputs: dict[str, Any] = {"file": X, "arr_0": np.array(1.5), "texts": np.array([b"a", b"bcd"], np.object_)}
    write_outputs(tmp_path / "o.npz", outputs, {})
    with np.load(tmp_path / "o.npz", allow_pickle=False) as loaded:
        assert np.array_equal(loaded["file"], X)
        assert loaded["arr_0"].shape == ()
        assert loaded["texts"].tolist() == [b"a", b"bcd"]
    write_outputs(tmp_path / "o.npy", {"y": X}, {})
    assert np.array_equal(np.load(tmp_path / "o.npy"), X)
    write_outputs(tmp_path / "o.json", outputs, {"model": "m"})
    assert json.loads((tmp_path / "o.json").read_text()) == {"model": "m"}


def test_what_a_file_cannot_hold_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        write_outputs(tmp_path / "o.npz", {"y": np.array([b"ends in NUL\0"], np.object_)}, {})
    with pytest.raises(InvalidArgument):
        write_outputs(tmp_path / "o.npy", {"y": X, "z": X}, {})
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_could_not_be_written_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        check_output(tmp_path / "o.csv", (".npz",))
    with pytest.raises(NotFound):
        check_output(tmp_path / "missing" / "o.npz", (".npz",))
