"""What a service writes to stderr, read back from a real process."""

import json
import subprocess
import sys

SPEAKER = """
import logging
from nnpm.settings import ServiceSettings
from nnpm.telemetry import logs
from opentelemetry.sdk.trace import TracerProvider

logs.configure(ServiceSettings.load(["--log-format", "{form}", "--log-level", "info"]), "registry")
log = logs.get_logger("versions")
log.debug("not shown")
log.info("committed", version="1.0.0")
with TracerProvider().get_tracer("t").start_as_current_span("s"):
    log.warning("inside a span")
logging.getLogger("some.library").error("a library speaks")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def stderr_of(form: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SPEAKER.format(form=form)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr.splitlines()


def test_every_line_is_json_with_service_level_and_time() -> None:
    lines = [json.loads(line) for line in stderr_of("json")]
    assert [line["event"] for line in lines] == ["committed", "inside a span", "a library speaks", "failed"]
    assert all(line["service"] == "registry" and line["timestamp"].endswith("Z") for line in lines)
    assert [line["level"] for line in lines] == ["info", "warning", "error", "error"]
    assert lines[0]["version"] == "1.0.0"


def test_a_line_inside_a_span_has_its_trace_id() -> None:
    committed, inside, *_ = (json.loads(line) for line in stderr_of("json"))
    assert "trace_id" not in committed
    assert len(inside["trace_id"]) == 32


def test_a_traceback_stays_in_one_json_line() -> None:
    failed = json.loads(stderr_of("json")[-1])
    assert "ZeroDivisionError" in failed["exception"]


def test_a_terminal_gets_lines_for_people() -> None:
    text = "\n".join(stderr_of("console"))
    assert "committed" in text
    assert not text.lstrip().startswith("{")
