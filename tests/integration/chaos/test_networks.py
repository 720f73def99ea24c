"""Networks that are cut and slowed on purpose do what they are told, whichever way they are made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).parents[2] / "support" / "network_probe.py"


@pytest.fixture(scope="module", params=["namespaces", "proxies"])
def seconds(request: pytest.FixtureRequest) -> dict[str, float]:
    """That echoes took through one link."""
    command = [sys.executable, PROBE, request.param]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 3:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_what_is_cut_passes_nothing_on_and_loses_nothing(seconds: dict[str, float]) -> None:
    assert seconds["cut"] is None
    assert seconds["healed"] > 0


def test_what_is_slow_takes_longer(seconds: dict[str, float]) -> None:
    assert seconds["slow"] > 0.1 > seconds["open"]
