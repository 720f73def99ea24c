"""The table of reasons is what the code raises, no more and no less."""

import re
from pathlib import Path

import nnpm
from nnpm.errors import BY_CODE
from nnpm.reasons import REASONS

ROOT = Path(nnpm.__file__).parents[2]
RAISED = re.compile(rf"\b(?:{'|'.join(kind.__name__ for kind in BY_CODE.values())})\(\s*\"([A-Z0-9_]+)\"")


def sources() -> str:
    files = [path for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    return "\n".join(path.read_text() for path in files if "nnpm/api" not in path.as_posix())


def test_every_reason_that_is_raised_is_documented() -> None:
    assert set(RAISED.findall(sources())) <= set(REASONS)


def test_every_documented_reason_is_used() -> None:
    text = sources()
    unused = {reason for reason in REASONS if text.count(f'"{reason}"') < 2}
    assert not unused


def test_the_table_is_sorted_and_upper_snake() -> None:
    assert list(REASONS) == sorted(REASONS)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", reason) for reason in REASONS)
