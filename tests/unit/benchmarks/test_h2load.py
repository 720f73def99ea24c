"""What h2load prints and logs is read as it is meant, and a run that lost a request is no run."""

from pathlib import Path

import pytest

from benchmarks.h2load import check_report, command, read_log
from benchmarks.load_run import LoadError, Target

REPORT = """starting benchmark...
progress: 100% done

finished in {time}, 10723.52 req/s, 605.65KB/s
requests: 20000 total, 20000 started, 20000 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {succeeded} 2xx, 0 3xx, 0 4xx, 0 5xx
"""


@pytest.mark.parametrize(("time", "seconds"), [("1.87s", 1.87), ("816us", 816e-6), ("52.40ms", 0.0524), ("2.00m", 120)])
def test_the_time_of_a_run_is_read_in_every_unit(time: str, seconds: float) -> None:
    report = REPORT.format(time=time, succeeded=20000, failed=0)
    assert check_report(report, 20000) == pytest.approx(seconds)


def test_one_failure_spoils_a_run() -> None:
    with pytest.raises(LoadError, match="19999 succeeded"):
        check_report(REPORT.format(time="1.87s", succeeded=19999, failed=1), 20000)


def test_an_unknown_report_is_no_success() -> None:
    with pytest.raises(LoadError, match="not understood"):
        check_report("h2load changed", 1)


def test_latencies_come_from_the_third_column_ascending_in_milliseconds() -> None:
    log = b"1795591431650554\t200\t1476\n1795591431650556\t200\t1143\n1795591431650557\t200\t250\n"
    assert read_log(log) == [0.25, 1.143, 1.476]


def test_requests_are_counted_never_timed() -> None:
    target = Target("http://127.0.0.1:1/x", Path("body"))
    words = command("h2load", target, requests=500, in_flight=16, log=Path("log"))
    assert "-n500" in words
    assert "-m16" in words
    assert "-c1" in words
    assert not any(word.startswith("-D") for word in words)


def test_http_1_has_a_connection_for_every_request_in_flight() -> None:
    target = Target("http://127.0.0.1:1/x", Path("body"), http1=True)
    words = command("h2load", target, requests=500, in_flight=16, log=Path("log"))
    assert "--h1" in words
    assert "-c16" in words
    assert not any(word.startswith("-m") for word in words)
