"""The page of promises: each names tests, these exist, and its table of statuses is what `scripts/chaos` allows."""

import re
from pathlib import Path

import pytest

from chaos.statuses import DOCUMENTED
from nnpm.reasons import REASONS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "services" / "nnpm_scheduler" / "PROMISES.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROW = re.compile(r"^\| `([A-Z_]+)` \| `([A-Z_]+)` \|", re.MULTILINE)


def promises() -> list[str]:
    """Every item of the page's lists, on one line."""
    text = re.sub(r"\n {2}", " ", PAGE.read_text())
    return [line for line in text.splitlines() if line.startswith("- ")]


def test_there_are_promises() -> None:
    assert len(promises()) > 20


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise[2:50])
def test_each_promise_names_a_test(promise: str) -> None:
    assert TEST.search(promise)


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(PAGE.read_text()))))
def test_each_named_test_exists(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_the_table_lists_the_statuses_that_chaos_allows() -> None:
    assert {reason: code for code, reason in ROW.findall(PAGE.read_text())} == DOCUMENTED


def test_every_reason_of_the_table_is_one_of_ours() -> None:
    assert set(DOCUMENTED) <= set(REASONS)
