"""podman, as the suite runs it: one program, its settings beside the tests."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETTINGS = Path(__file__).resolve().parents[2] / "containers" / "containers.conf"
NEEDED = ("podman", "runc", "debootstrap", "iptables")


def unavailable() -> str:
    """Why containers cannot be run here; "" when they can."""
    if os.geteuid() != 0:
        return "containers are run as root here, and this is another user"
    missing = [name for name in NEEDED if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed; `scripts/test` installs them on Debian as root" if missing else ""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without settings of nnpm, and with ours for podman."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NNPM_")}
    return kept | {"CONTAINERS_CONF": str(SETTINGS)} | dict(more or {})


def podman(
    *arguments: object, timeout: float = 120, check: bool = True, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run `podman ARGUMENTS`; AssertionError with its output when it fails and `check`."""
    words = ["podman", *map(str, arguments)]
    done = subprocess.run(
        words, env=environment(), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode:
        raise AssertionError(
            f"`{' '.join(words)}` exited {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        )
    return done


def inspect(kind: str, name: str) -> dict[str, Any]:
    """What podman knows of a container, an image or a volume."""
    found: list[dict[str, Any]] = json.loads(podman(kind, "inspect", name).stdout)
    return found[0]


def image_exists(name: str) -> bool:
    return podman("image", "exists", name, check=False).returncode == 0
