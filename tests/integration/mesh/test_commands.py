"""`nnpm up`, `down`, `status` and `logs` as a script sees them: output, exit codes, processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from nnpm.mesh.data_folder import FORMAT, DataFolder, lock_holder
from nnpm.mesh.down import stop_mesh
from support.little_mesh.running import LittleMesh, alive
from support.ports import free_ports
from support.processes import Process
from support.waiting import wait_until

Start = Callable[..., LittleMesh]

PROGRAM = [sys.executable, "-c", "import sys; from nnpm.cli import main; sys.exit(main())"]


def nnpm(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NNPM_")}
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_status_lists_every_process_and_exits_with_0_when_all_are_healthy(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    done = nnpm("status", "--data", mesh.data, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {
        "healthy": True,
        "services": [
            {"name": process["name"], "pid": process["pid"], "address": process["address"], "healthy": True}
            for process in mesh.state["processes"]
        ],
    }
    assert [service["name"] for service in found["services"]] == ["redis", "one", "two", "three"]


def test_status_of_a_mesh_with_a_stopped_process_names_it_and_exits_with_5(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    os.kill(mesh.pids["two"], signal.SIGSTOP)
    done = nnpm("status", "--data", mesh.data, "--json")
    os.kill(mesh.pids["two"], signal.SIGCONT)
    assert done.returncode == 5
    found = json.loads(done.stdout)
    assert not found["healthy"]
    assert [service["name"] for service in found["services"] if not service["healthy"]] == ["two"]


def test_status_where_no_mesh_runs_exits_with_5(tmp_path: Path) -> None:
    done = nnpm("status", "--data", tmp_path, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (5, {"healthy": False, "services": []})
    assert f"nnpm up --data {tmp_path}" in nnpm("status", "--data", tmp_path).stdout


def test_down_leaves_no_process_and_can_be_said_twice(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    pids = mesh.pids
    done = nnpm("down", "--data", mesh.data)
    assert done.returncode == 0, done.stderr
    assert not any(alive(pid) for pid in pids.values())
    assert mesh.process.wait(5.0) == 0
    again = nnpm("down", "--data", mesh.data, "--json")
    assert (again.returncode, json.loads(again.stdout)["stopped"]) == (0, False)


def test_down_ends_a_mesh_whose_supervisor_hangs(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    pids = mesh.pids
    mesh.process.signal(signal.SIGSTOP)
    assert stop_mesh(DataFolder.at(mesh.data), patience=0.5)
    wait_until(lambda: not any(alive(pid) for pid in pids.values()), 5.0)


def test_down_ends_a_mesh_whose_state_is_damaged(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    pids = mesh.pids
    (mesh.data / "mesh.json").write_text("{")
    done = nnpm("down", "--data", mesh.data)
    assert done.returncode == 0, done.stderr
    assert mesh.process.wait(5.0) == 0
    wait_until(lambda: not any(alive(pid) for pid in pids.values()), 5.0)


def test_logs_shows_one_process_or_all(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    one = nnpm("logs", "two", "--data", mesh.data)
    assert one.stdout.startswith("two | serving unix:")
    every = nnpm("logs", "--data", mesh.data, "-n", "1000")
    assert {line.split(" | ")[0].strip() for line in every.stdout.splitlines()} >= {"one", "two", "three", "mesh"}
    unknown = nnpm("logs", "four", "--data", mesh.data, "--json")
    assert unknown.returncode == 3
    assert json.loads(unknown.stderr)["error"]["reason"] == "LOG_NOT_FOUND"


def test_up_on_a_folder_in_use_is_refused_naming_the_first(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    for detach in ((), ("--detach",)):
        done = nnpm("up", "--data", mesh.data, *detach, "--json")
        assert done.returncode == 4
        error = json.loads(done.stderr)["error"]
        assert error["reason"] == "DATA_FOLDER_IN_USE"
        assert error["metadata"]["pid"] == str(mesh.process.pid)


def test_up_on_a_newer_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "format").write_text(f"{FORMAT + 1}\n")
    for detach in ((), ("--detach",)):
        done = nnpm("up", "--data", tmp_path, "--port-base", "0", *detach, "--json")
        assert done.returncode == 4
        assert json.loads(done.stderr)["error"]["reason"] == "DATA_FOLDER_NEWER"


def test_up_names_the_port_that_is_taken_and_by_whom(tmp_path: Path) -> None:
    base = free_ports(4)
    with socket.create_server(("127.0.0.1", base + 2)):
        done = nnpm("up", "--data", tmp_path, "--port-base", base, "--detach")
    assert done.returncode == 4
    assert f"port {base + 2} on 127.0.0.1 is taken by" in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
    assert "hint: " in done.stderr


def test_an_interrupted_start_in_the_background_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [*PROGRAM, "up", "--data", str(data), "--port-base", "0", "--detach"]
    with Process(command, tmp_path / "out") as process:
        wait_until(lambda: lock_holder(DataFolder.at(data)), 20.0, what="the supervisor has begun")
        supervisor = lock_holder(DataFolder.at(data))
        process.signal(signal.SIGINT)
        assert process.wait(30.0) == 130
    assert supervisor is not None
    assert not alive(supervisor.pid)
    assert lock_holder(DataFolder.at(data)) is None


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    assert nnpm("up", "--workers", "many", "--data", tmp_path).returncode == 2
    assert nnpm("up", "--workers", "-1", "--data", tmp_path).returncode == 2
