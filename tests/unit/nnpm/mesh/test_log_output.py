"""Lines for files and for people."""

import io
import json
from pathlib import Path

from nnpm.mesh.log_output import LogConsole, RotatedLog, as_log_line, readable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_full_log_is_set_aside_and_only_the_last_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "registry.log"
    with RotatedLog(path, limit=10, kept=2) as log:
        for number in range(5):
            log.write(f"line number {number}")
    assert path.read_text() == "line number 4\n"
    assert (tmp_path / "registry.log.1").read_text() == "line number 3\n"
    assert (tmp_path / "registry.log.2").read_text() == "line number 2\n"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_log_is_continued_by_the_next_run(tmp_path: Path) -> None:
    for word in ("one", "two"):
        with RotatedLog(tmp_path / "a.log") as log:
            log.write(word)
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n"


def test_a_structured_line_is_made_readable() -> None:
    line = json.dumps({"event": "loaded", "level": "info", "timestamp": "2026-11-25T02:00:00Z", "model": "a b", "n": 3})
    shown = readable(line, colours=False)
    assert shown.endswith('info    loaded model="a b" n=3')
    assert ":00:00.000 " in shown


def test_a_line_that_is_no_json_event_is_shown_as_it_is() -> None:
    for line in ("1:M * Ready to accept connections", "{not json", '{"a": 1}', ""):
        assert readable(line, colours=False) == line


def test_a_terminal_gets_a_coloured_prefix_and_a_pipe_a_plain_one() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        LogConsole(stream, ["redis", "scheduler-0"]).show("redis", "hello")
    assert pipe.getvalue() == "redis       | hello\n"
    assert "\x1b[" in terminal.getvalue()


def test_a_terminal_that_went_away_stops_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    LogConsole(Gone(), ["redis"]).show("redis", "hello")


def test_the_supervisors_lines_look_like_the_services() -> None:
    shown = readable(as_log_line("warning", "redis was killed", code=9), colours=False)
    assert shown.endswith("warning redis was killed code=9")
