"""What is said of a flow."""

import pytest

from fairness.load import End, Seen
from fairness.main import main
from fairness.scenarios import at_least, at_most


def test_goodput_counts_what_was_answered_while_calls_were_sent() -> None:
    seen = Seen([End(0.0, 1.0, ""), End(1.5, 1.0, ""), End(1.0, 0.1, "OVERLOADED"), End(1.9, 0.05, "")], 2.0)
    assert (seen.goodput, len(seen.answered), seen.refused["OVERLOADED"]) == (1.0, 3, 1)
    assert seen.percentile(50) == pytest.approx(1000)


def test_a_bound_that_nothing_reached_does_not_hold() -> None:
    nothing = Seen([], 1.0)
    assert not at_most("p99", nothing.percentile(99), 5).holds
    assert not at_least("goodput", nothing.goodput, 1).holds


@pytest.mark.parametrize("words", [["--only", "nothing"], ["--workers", "0"], ["--seconds", "0"]])
def test_a_wrong_command_line_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == 2
