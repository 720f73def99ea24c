"""The mesh of deploy/compose, started from a tree's files as they are, on ports of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from support.containers.podman import environment, inspect, podman
from support.ports import free_ports
from support.waiting import wait_until

SERVICES = ("redis", "minio", "postgres", "registry", "artifact", "scheduler", "worker")
_PORTS = {
    "NNPM_PUBLISH_SCHEDULER": ("scheduler", 8001),
    "NNPM_PUBLISH_REGISTRY": ("registry", 8101),
    "NNPM_PUBLISH_ARTIFACT": ("artifact", 8102),
    "NNPM_PUBLISH_CONTROL": ("scheduler", 8103),
}


class Composed:
    """One project. `tree` is a copy of the repository; its secrets are made in it."""

    def __init__(self, tree: Path, project: str, version: str, settings: Mapping[str, str] | None = None) -> None:
        self.tree = tree
        self.project = project
        self.version = version
        first = free_ports(len(_PORTS))
        self._ports = {name: str(first + number) for number, name in enumerate(_PORTS)}
        self._settings = dict(settings or {})

    # ---- the whole

    def up(self, *options: str, timeout: float = 240) -> None:
        self.compose("up", "--detach", *options, timeout=timeout)

    def down(self, *options: str) -> None:
        self.compose("down", *options, timeout=120)

    def compose(self, *arguments: str, timeout: float = 120) -> str:
        """`podman-compose ARGUMENTS` on the compose file as it is; its output."""
        words = [
            *(sys.executable, "-m", "podman_compose", "--project-name", self.project),
            *("--file", str(self.tree / "deploy/compose/compose.yaml"), *arguments),
        ]
        done = subprocess.run(
            words, cwd=self.tree, env=environment(self._ports | {"NNPM_VERSION": self.version} | self._settings),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(
                f"podman-compose {' '.join(arguments)} exited {done.returncode}\n{done.stdout[-8000:]}"
            )
        return done.stdout

    def wait_healthy(self, deadline: float = 120.0, services: tuple[str, ...] = SERVICES) -> None:
        """Until every container's own health check passes; podman without systemd runs none by itself."""
        for service in services:
            wait_until(
                lambda service=service: all(self.is_healthy(name) for name in self.containers(service)) or None,
                deadline,
                what=f"{service} is healthy\n{self.logs()}",
            )

    @staticmethod
    def is_healthy(container: str) -> bool:
        return podman("healthcheck", "run", container, check=False, timeout=30).returncode == 0

    # ---- addresses, on the host

    @property
    def scheduler(self) -> str:
        return self._address("NNPM_PUBLISH_SCHEDULER")

    @property
    def client_environment(self) -> dict[str, str]:
        """NNPM_*_ADDRESS for a client on the host."""
        names = {"SCHEDULER": "SCHEDULER", "CONTROL": "CONTROL", "REGISTRY": "REGISTRY", "ARTIFACT": "ARTIFACT"}
        return {f"NNPM_{name}_ADDRESS": self._address(f"NNPM_PUBLISH_{port}") for name, port in names.items()}

    def _address(self, name: str) -> str:
        return f"127.0.0.1:{self._ports[name]}"

    # ---- its containers

    def containers(self, service: str = "") -> list[str]:
        """Names of a service's containers that run, or of all; AssertionError when there is none."""
        filters = ["--filter", f"label=io.podman.compose.project={self.project}"]
        if service:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        names = podman("ps", *filters, "--format", "{{.Names}}").stdout.split()
        assert names, f"no container of {service or self.project} runs\n{self.logs()}"
        return sorted(names)

    def container(self, service: str) -> str:
        """The name of a service's one container."""
        (name,) = self.containers(service)
        return name

    def pid(self, container: str) -> int:
        """Of its first process, as the host sees it; 0 while it does not run."""
        return int(inspect("container", container)["State"]["Pid"])

    def processor_seconds(self, container: str) -> float:
        """What its first process has used so far."""
        fields = Path(f"/proc/{self.pid(container)}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def crash(self, container: str) -> int:
        """SIGKILL to its first process from outside, as the kernel would when memory is short; the pid that it had."""
        pid = self.pid(container)
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, container: str) -> tuple[float, int]:
        """SIGTERM, and SIGKILL after 15 s; the seconds that it took and the exit code."""
        begin = time.monotonic()
        podman("stop", "--time", "15", container)
        return time.monotonic() - begin, int(inspect("container", container)["State"]["ExitCode"])

    def scale(self, service: str, count: int) -> None:
        """Start containers of a service until there are `count`, or stop the youngest, as docker compose would."""
        running = self.containers(service)
        if count > len(running):
            self.up("--no-recreate", "--scale", f"{service}={count}")
        for surplus in running[count:]:  # podman-compose leaves them
            podman("stop", "--time", "15", surplus)
            podman("rm", "--volumes", surplus)

    def become(self, tree: Path, version: str) -> None:
        """From now on the files of another tree; secrets and volumes stay."""
        self.tree, self.version = tree, version

    def exec(self, service: str, *command: str) -> str:
        """What a command inside a service's container prints."""
        return podman("exec", self.container(service), *command).stdout

    def nnpm(self, *arguments: str, timeout: float = 120) -> str:
        """`nnpm ARGUMENTS` on the host, against this mesh."""
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from nnpm.cli import main; sys.exit(main())", *arguments],
            env=environment(self.client_environment), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"nnpm {' '.join(arguments)}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def versions(self, package: str) -> list[str]:
        found = json.loads(self.nnpm("versions", package, "--json"))["versions"]
        return [version["version"] for version in found]

    def revision(self, service: str) -> str:
        """Which of Alembic's revisions a service's database has."""
        ask = (
            f"PGPASSWORD=$(cat /run/secrets/postgres_{service}) psql -h 127.0.0.1 -U {service} -tA"
            f' -c "select version_num from alembic_version" {service}'
        )
        return self.exec("postgres", "sh", "-c", ask).strip()

    def deployments(self) -> dict[str, str]:
        """State by name."""
        found = json.loads(self.nnpm("ps", "--json"))["deployments"]
        return {deployment["name"]: deployment["state"] for deployment in found}

    def logs(self, lines: int = 12) -> str:
        """The ends of all logs, for a failed assertion."""
        listed = podman(
            "ps", "--all", "--filter", f"label=io.podman.compose.project={self.project}", "--format", "{{.Names}}"
        )
        told = []
        for name in listed.stdout.split():
            done = podman("logs", "--tail", lines, name, check=False)
            told.append(f"--- {name}\n{done.stdout}{done.stderr}")
        return "\n".join(told)

    def remove(self) -> None:
        """Everything of it, volumes included."""
        with contextlib.suppress(AssertionError):
            self.down("--volumes")
