"""A little mesh in a process of its own, to be watched, killed and stopped."""

import json
import sys
from pathlib import Path
from typing import Any

import psutil

from support.processes import Process
from support.waiting import wait_until

PROGRAM = Path(__file__).with_name("mesh.py")


class LittleMesh:
    """`mesh.py` on the folder `data`, started with `wishes` such as `two=--deaf`; `output` is what it prints."""

    def __init__(self, data: Path, output: Path, *wishes: str, timeout: str = "20") -> None:
        self.data = data
        self.process = Process([sys.executable, PROGRAM, data, *wishes], output, {"LITTLE_MESH_TIMEOUT": timeout})
        self.process.start()

    def ready(self) -> "LittleMesh":
        wait_until(lambda: "ready\n" in self.process.output, 20.0, what="the little mesh is ready")
        return self

    @property
    def state(self) -> dict[str, Any]:
        """mesh.json as it is now."""
        found: dict[str, Any] = json.loads((self.data / "mesh.json").read_text())
        return found

    @property
    def pids(self) -> dict[str, int]:
        return {process["name"]: process["pid"] for process in self.state["processes"]}

    def log(self, name: str) -> str:
        return (self.data / "logs" / f"{name}.log").read_text()


def alive(pid: int) -> bool:
    """Whether the process runs: a zombie that nobody has waited for doesn't."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
