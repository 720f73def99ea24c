"""Which runtimes a worker has: all are loaded when it starts, and one that is broken harms no other."""

from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition
from nnpm_worker.plugins import Runtimes
from nnpm_worker.runtime import RuntimeOptions

MODULE = """
class Good:
    pure = True
    providers = ("CPU",)
    def __init__(self, options): self.threads = options.threads

class Once(Good):
    pure = False

class Broken:
    def __init__(self, options): raise OSError("no licence on this machine")
"""
ENTRY_POINTS = """[nnpm.runtimes]
good = runtimes_of_a_test:Good
once = runtimes_of_a_test:Once
broken = runtimes_of_a_test:Broken
gone = not_there:Gone
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of somebody else's runtimes: `good`; and `once`, `broken` and `gone`, which cannot be used."""
    module = tmp_path / "runtimes_of_a_test.py"
    module.write_text(MODULE)
    info = tmp_path / "runtimes_of_a_test-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: runtimes-of-a-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return module


@pytest.fixture
def runtimes(module: Path) -> Runtimes:
    return Runtimes(RuntimeOptions(3, "cpu"))


def test_runtimes_are_found_by_their_entry_points(runtimes: Runtimes) -> None:
    assert {"onnx", "python", "good"} <= set(runtimes.usable)
    assert {"once", "broken", "gone"}.isdisjoint(runtimes.usable)
    assert vars(runtimes.get("good"))["threads"] == 3


def test_nothing_is_imported_or_made_when_a_runtime_is_asked_for(runtimes: Runtimes, module: Path) -> None:
    made = runtimes.get("good")
    module.unlink()
    (module.parent / "not_there.py").write_text("raise SystemExit('imported while serving')")
    assert runtimes.get("good") is made
    with pytest.raises(FailedPrecondition):
        runtimes.get("gone")


@pytest.mark.parametrize(
    ("name", "why"), [("once", "repeat"), ("gone", "not_there"), ("broken", "licence"), ("nothing", "has no runtime")]
)
def test_a_runtime_that_cannot_be_used_is_refused_with_the_reason(runtimes: Runtimes, name: str, why: str) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        runtimes.get(name)
    assert refused.value.reason == "RUNTIME_UNKNOWN"
    assert why in refused.value.message
