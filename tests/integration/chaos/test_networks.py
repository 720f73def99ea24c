"""Networks that are cut and slowed on purpose do what they are told, whichever way they are made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).parents[2] / "support" / "network_probe.py"


@pytest.mark.parametrize("kind", ["namespaces", "proxies"])
def test_what_is_cut_passes_nothing_on_and_loses_nothing(kind: str) -> None:
    seconds = probe(kind)
    assert seconds["cut"] is None
    assert seconds["healed"] > 0


@pytest.mark.parametrize("kind", ["namespaces", "proxies"])
def test_what_is_slow_takes_longer(kind: str) -> None:
    seconds = probe(kind)
    assert seconds["slow"] > 0.1 > seconds["open"]


def probe(kind: str) -> dict[str, float]:
    """Seconds that echoes took through one link."""
    done = subprocess.run([sys.executable, PROBE, kind], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 3:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found
