"""Which runtimes a worker has."""

from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition
from nnpm_worker.runtime import RuntimeOptions, Runtimes

MODULE = """
class Once:
    pure = False
    def __init__(self, options): ...
"""


@pytest.fixture
def runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtimes:
    """With two runtimes of somebody else's: `once`, which is not pure, and `gone`, whose module is not there."""
    (tmp_path / "runtimes_of_a_test.py").write_text(MODULE)
    info = tmp_path / "runtimes_of_a_test-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: runtimes-of-a-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nnpm.runtimes]\nonce = runtimes_of_a_test:Once\ngone = not_there:Gone\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Runtimes(RuntimeOptions(0, "cpu"))


def test_runtimes_are_found_by_their_entry_points(runtimes: Runtimes) -> None:
    assert {"onnx", "once", "gone"} <= set(runtimes.names)
    assert runtimes.get("onnx") is runtimes.get("onnx")


@pytest.mark.parametrize(("name", "why"), [("once", "repeat"), ("gone", "not_there"), ("nothing", "has no runtime")])
def test_a_runtime_that_cannot_be_used_is_refused_with_the_reason(runtimes: Runtimes, name: str, why: str) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        runtimes.get(name)
    assert refused.value.reason == "RUNTIME_UNKNOWN"
    assert why in refused.value.message
