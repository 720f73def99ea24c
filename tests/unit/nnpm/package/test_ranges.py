import json
from collections.abc import Iterable

import pytest

from nnpm.errors import InvalidArgument
from nnpm.package.ranges import MAX_LENGTH, Range, is_range
from nnpm.package.versions import Version
from support import npm_ranges
from support.npm_ranges import Answer


def differences(answers: Iterable[Answer]) -> list[tuple[object, ...]]:
    """Where nnpm answers other than npm."""
    found: list[tuple[object, ...]] = []
    for text, version, valid, admits in answers:
        ours = Range.parse(text).admits(Version.parse(version)) if is_range(text) else None
        if is_range(text) != valid or ours != admits:
            found.append((text, version, "npm:", valid, admits, "nnpm:", is_range(text), ours))
    return found


def test_answers_as_npm_was_recorded_to_answer() -> None:
    recorded = json.loads(npm_ranges.RECORDED.read_text())
    assert len(recorded) > 3000
    assert sum(valid for _, _, valid, _ in recorded) > 1000
    assert differences(recorded) == []


def test_answers_as_the_npm_that_is_here() -> None:
    semver = npm_ranges.find_semver()
    if semver is None:
        pytest.skip("node and npm (with semver 7.8 or later) are not here; recorded answers are tested everywhere")
    pairs = npm_ranges.written_pairs() + npm_ranges.drawn_pairs(2000, seed=2026)
    assert differences(npm_ranges.ask_npm(pairs, semver)) == []


@pytest.mark.parametrize(
    ("text", "best"),
    [
        (">= 1", "3.0.0"),
        ("^ 1.2", "1.9.0"),
        ("~> 1.2.3", "1.2.9"),
        (">=1 <2", "1.9.0"),
        ("1.x || 2", "2.0.0"),
        ("1.2 - 1.4", "1.2.9"),
        ("*", "3.0.0"),
        ("", "3.0.0"),
        ("^4", None),
        ("^1.2.3-0", "1.9.0"),
        (">=2.5.0-alpha <2.5.0", "2.5.0-beta"),
    ],
)
def test_the_highest_version_of_the_range(text: str, best: str | None) -> None:
    versions = [Version.parse(v) for v in ("1.2.3", "1.9.0", "3.0.0", "1.2.9", "2.0.0", "2.5.0-beta", "4.0.0-rc.1")]
    chosen = max(filter(Range.parse(text).admits, versions), default=None)
    assert (str(chosen) if chosen else None) == best


@pytest.mark.parametrize(
    "text",
    [
        "latest",
        "1.2.3.4",
        "^",
        "=>1",
        "one",
        "1 && 2",
        "\u0661",
        "1\u00a0.2",
        "1\x1f",
        "^1" * MAX_LENGTH,
        "9" * 400,
        "x.1",
    ],
)
def test_nonsense_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Range.parse(text)
    assert caught.value.reason == "INVALID_RANGE"
    assert "^1.2" in caught.value.hint


def test_a_range_is_what_was_written() -> None:
    assert str(Range.parse(">= 1")) == ">= 1"
    assert Range.parse(">= 1").canonical == Range.parse(">=1").canonical == ">=1.0.0"
