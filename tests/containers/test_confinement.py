"""What no container may do or hold: root, writing beside its volume, a secret in plain sight, a port to the outside."""

import json
import socket
from pathlib import Path

import pytest

from support.containers.composed import SERVICES, Composed
from support.containers.images import Built
from support.containers.podman import inspect, podman
from support.containers.trickle import Published

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("containers")]

# Directories and files that the user may write to; devices and what the kernel shows are none.
FIND_WRITABLE = r"find / \( -path /proc -o -path /sys \) -prune -o \( -type d -o -type f \) -writable -print"


@pytest.fixture
def secrets(mesh: Composed) -> dict[str, str]:
    """What scripts/compose-secrets made, by file."""
    folder = mesh.tree / "deploy" / "compose" / "secrets"
    found = {path.name: path.read_text().strip() for path in folder.iterdir() if path.is_file()}
    assert found
    return {name: text for name, text in found.items() if len(text) >= 12}


@pytest.mark.parametrize("service", SERVICES)
def test_no_process_in_it_is_root(service: str, mesh: Composed) -> None:
    for container in mesh.containers(service):
        processes = podman("top", container, "hpid").stdout.split()[1:]
        assert processes
        for process in processes:
            status = Path(f"/proc/{process}/status").read_text()
            ids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
            assert "0" not in ids, (container, status)


# Memory, and little of it: PostgreSQL's image puts its socket and its processes' shared memory there.
MEMORY = {"postgres": ["/run", "/dev/shm"]}


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_but_its_volume_is_writable(service: str, mesh: Composed, published: Published) -> None:
    container = mesh.container(service)
    volumes = [mount["Destination"] for mount in inspect("container", container)["Mounts"] if mount["Type"] == "volume"]
    assert len(volumes) == 1, volumes
    found = podman("exec", container, "sh", "-c", f"{FIND_WRITABLE} 2>/dev/null", check=False).stdout.splitlines()
    assert volumes[0] in found
    memory = MEMORY.get(service, [])
    for place in memory:
        assert podman("exec", container, "stat", "--file-system", "--format=%T", place).stdout.strip() == "tmpfs"
    allowed = (*volumes, *memory)
    beside = [path for path in found if not f"{path}/".startswith(tuple(f"{place}/" for place in allowed))]
    assert beside == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_in_its_environment_or_command_line(service: str, mesh: Composed, secrets: dict[str, str]) -> None:
    for container in mesh.containers(service):
        facts = inspect("container", container)
        process = Path(f"/proc/{mesh.pid(container)}")
        seen = json.dumps(facts) + (process / "environ").read_text() + (process / "cmdline").read_text()
        assert [name for name, secret in secrets.items() if secret in seen] == []


def test_no_secret_is_in_an_image(built: dict[str, Built], mesh: Composed, secrets: dict[str, str]) -> None:
    for image in built.values():
        history = podman("history", "--no-trunc", "--format", "json", image.name).stdout
        seen = history + json.dumps(inspect("image", image.name))
        assert [name for name, secret in secrets.items() if secret in seen] == []
        for word in ("SECRET_KEY=", "PASSWORD=", "TOKEN="):
            assert word not in seen, image


def test_every_published_port_is_on_loopback(mesh: Composed) -> None:
    published = {}
    for container in mesh.containers():
        for port, bindings in (inspect("container", container)["HostConfig"]["PortBindings"] or {}).items():
            for binding in bindings or ():
                assert binding["HostIp"] == "127.0.0.1", (container, port, binding)
                published[int(binding["HostPort"])] = container
    assert published, "nothing can be reached from the host"
    outside = inspect("container", mesh.container("scheduler"))["NetworkSettings"]["Networks"]
    gateway = next(iter(outside.values()))["Gateway"]  # an address of this host that is not loopback
    for port, container in published.items():
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with socket.socket() as outsider:
            outsider.settimeout(2)
            assert outsider.connect_ex((gateway, port)) != 0, f"{container} answers at {gateway}:{port}"


@pytest.mark.parametrize("service", SERVICES)
def test_it_has_no_capability_and_gains_none(service: str, mesh: Composed) -> None:
    status = Path(f"/proc/{mesh.pid(mesh.container(service))}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
