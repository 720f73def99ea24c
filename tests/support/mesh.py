"""A whole mesh for a test: `nnpm up --detach` on a data folder and ports of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from support.ports import free_ports
from support.waiting import wait_until


class Mesh:
    """`nnpm up` in `data`. The addresses are those of contract.md: P, P+1, P+2, P+3 on loopback."""

    def __init__(self, data: Path, *, workers: int = 1, environment: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.workers = workers
        self.port_base = free_ports(4)
        self._environment = dict(environment or {})

    @property
    def scheduler(self) -> str:
        return f"127.0.0.1:{self.port_base}"

    @property
    def registry(self) -> str:
        return f"127.0.0.1:{self.port_base + 1}"

    @property
    def artifact(self) -> str:
        return f"127.0.0.1:{self.port_base + 2}"

    @property
    def control(self) -> str:
        return f"127.0.0.1:{self.port_base + 3}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client process needs to find this mesh by NNPM_* alone."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NNPM_")}
        return inherited | {"NNPM_DATA": str(self.data)} | self._environment

    def up(self, *options: str) -> "Mesh":
        """Start; returns when `nnpm up` says healthy."""
        self.cli(
            *("up", "--data", str(self.data), "--port-base", str(self.port_base)),
            *("--workers", str(self.workers), "--detach", *options),
            timeout=60,
        )
        return self

    def down(self) -> None:
        self.cli("down", "--data", str(self.data), timeout=60)

    def cli(
        self,
        *arguments: str,
        check: bool = True,
        timeout: float = 120,
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """`nnpm ARGUMENTS` against this mesh; AssertionError with its output when it exits other than 0 and `check`."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=cwd,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"nnpm {' '.join(arguments)} exited {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
            )
        return done

    def json(self, *arguments: str, **options: Any) -> Any:
        """What `nnpm ARGUMENTS --json` prints."""
        return json.loads(self.cli(*arguments, "--json", **options).stdout)

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """The command line of the `nnpm` of this very environment."""
        return [sys.executable, "-c", "import sys; from nnpm.cli import main; sys.exit(main())", *arguments]

    def publish(self, model: Path, name: str, version: str = "1.0.0", *options: str, timeout: float = 120) -> None:
        """Publish a bare ONNX file, external data beside it included."""
        self.cli(
            *("publish", str(model), "--name", name, "--version", version, "--license", "Apache-2.0", *options),
            timeout=timeout,
        )

    def deploy(self, reference: str, *options: str, timeout: float = 60) -> None:
        """Deploy and wait until it serves."""
        self.cli("deploy", reference, "--wait", *options, timeout=timeout)

    def infer(self, model: str, inputs: Mapping[str, np.ndarray], folder: Path, *options: str) -> dict[str, np.ndarray]:
        """The outputs of `nnpm infer`; `folder` takes the files."""
        arguments = []
        for number, (name, value) in enumerate(inputs.items()):
            path = folder / f"input-{number}.npy"
            np.save(path, value)
            arguments += ["-i", f"{name}={path}"]
        output = folder / "output.npz"
        self.cli("infer", model, *arguments, "-o", str(output), *options)
        with np.load(output) as arrays:
            return dict(arrays)

    def services(self) -> dict[str, dict[str, Any]]:
        """By name: what `nnpm status` says of each process."""
        done = self.cli("status", "--data", str(self.data), "--json", check=False)
        return {service["name"]: service for service in json.loads(done.stdout)["services"]}

    def healthy(self) -> bool:
        done = self.cli("status", "--data", str(self.data), "--json", check=False)
        return bool(json.loads(done.stdout)["healthy"])

    def kill(self, name: str) -> int:
        """SIGKILL to one process by its name in `nnpm status`; its former pid."""
        pid = int(self.services()[name]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def restarted(self, name: str, old_pid: int, deadline: float = 5.0) -> None:
        """Wait until everything is healthy again and `name` has another pid."""

        def back() -> bool:
            status = json.loads(self.cli("status", "--data", str(self.data), "--json", check=False).stdout)
            pids = {service["name"]: service["pid"] for service in status["services"]}
            return bool(status["healthy"]) and pids.get(name) not in (None, 0, old_pid)

        wait_until(back, deadline, what=f"{name} (was {old_pid}) is back and everything healthy")

    def logs(self, tail: int = 1500) -> str:
        """The ends of all logs, for a failed assertion."""
        found = sorted((self.data / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-tail:]}" for path in found)
