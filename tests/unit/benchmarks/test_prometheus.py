"""Counters are added up over the series that are meant, and no others."""

from benchmarks.prometheus import total

PAGE = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{model="tiny",version="1"} 40.0
calls_total{model="tiny",version="2"} 2
calls_total{model="mid",note="a \\"b\\", c"} 7.0
calls_total_created{model="tiny"} 1.7e9
plain_total 5
"""


def test_series_with_the_label_are_added() -> None:
    assert total(PAGE, "calls_total", model="tiny") == 42


def test_a_label_with_quotes_and_commas_is_one_label() -> None:
    assert total(PAGE, "calls_total", note='a \\"b\\", c') == 7


def test_a_series_without_labels_and_one_that_is_absent() -> None:
    assert total(PAGE, "plain_total") == 5
    assert total(PAGE, "other_total") == 0
