"""Runs `scripts/chaos` as a person would."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def chaos(*arguments: str, timeout: float = 240) -> list[dict[str, Any]]:
    """Its verdicts; AssertionError when there are none."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NNPM_")}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "chaos", "--json", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    told = f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode in (0, 1), told
    assert done.stdout, told  # a fault of the program itself ends with 1, too
    verdicts: list[dict[str, Any]] = json.loads(done.stdout)
    return verdicts
