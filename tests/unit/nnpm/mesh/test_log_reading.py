"""The last lines of the logs, and the following ones."""

import json
from itertools import islice
from pathlib import Path

import pytest

from nnpm.errors import NotFound
from nnpm.mesh.data_folder import DataFolder
from nnpm.mesh.log_output import RotatedLog
from nnpm.mesh.log_reading import LogLine, LogReader, log_names


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder.at(tmp_path)
    folder.logs.mkdir()
    return folder


def event(second: int, text: str) -> str:
    return json.dumps({"timestamp": f"2026-11-25T02:00:{second:02}Z", "event": text})


def write(folder: DataFolder, name: str, *lines: str) -> None:
    with folder.log_file(name).open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def test_the_last_lines_of_several_logs_come_in_the_order_of_their_time(folder: DataFolder) -> None:
    write(folder, "one", event(1, "a"), event(3, "c"), "a traceback without a time")
    write(folder, "two", event(2, "b"), event(4, "d"))
    lines = LogReader(folder, log_names(folder), 4).last()
    assert [line.name for line in lines] == ["two", "one", "one", "two"]
    assert lines[2] == LogLine("one", "a traceback without a time")


def test_no_more_than_asked_is_read_from_a_long_log(folder: DataFolder) -> None:
    write(folder, "one", *("x" * 100 + str(number) for number in range(5000)))
    lines = LogReader(folder, ["one"], 3).last()
    assert [line.text[100:] for line in lines] == ["4997", "4998", "4999"]
    assert LogReader(folder, ["one"], 0).last() == []


def test_following_goes_on_into_the_next_file(folder: DataFolder) -> None:
    with RotatedLog(folder.log_file("one"), limit=30) as log:
        log.write("before")
        reader = LogReader(folder, ["one"], 10)
        assert [line.text for line in reader.last()] == ["before"]
        following = reader.follow()
        for number in range(10):
            log.write(f"line {number} of the log that is followed")
            assert next(following).text == f"line {number} of the log that is followed"
        log.write("x")
        log.write("y")
        assert [line.text for line in islice(following, 2)] == ["x", "y"]
    assert folder.log_file("one").with_name("one.log.3").exists()


def test_an_unknown_process_is_not_found_and_the_known_are_named(folder: DataFolder) -> None:
    write(folder, "redis", "x")
    with pytest.raises(NotFound) as caught:
        LogReader(folder, ["radish"], 1)
    assert caught.value.reason == "LOG_NOT_FOUND"
    assert "redis" in caught.value.hint


def test_where_no_mesh_has_run_there_are_no_logs(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        LogReader(DataFolder.at(tmp_path / "nothing"), (), 10)
    assert caught.value.reason == "LOG_NOT_FOUND"
    assert "nnpm up" in caught.value.hint
