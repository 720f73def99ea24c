"""What the supervisor promises, shown with a real Redis and small real processes."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from nnpm.mesh.data_folder import DataFolder, lock_holder
from nnpm.mesh.health import is_serving
from nnpm.mesh.status import mesh_status
from support.little_mesh.running import LittleMesh, alive
from support.waiting import wait_until

Start = Callable[..., LittleMesh]


def healthy(mesh: LittleMesh) -> bool:
    return asyncio.run(mesh_status(DataFolder.at(mesh.data))).healthy


@pytest.mark.parametrize("name", ["redis", "one", "two", "three"])
def test_whatever_is_killed_is_healthy_again_by_itself(little_mesh: Start, name: str) -> None:
    mesh = little_mesh().ready()
    before = mesh.pids
    os.kill(before[name], signal.SIGKILL)
    wait_until(lambda: mesh.pids[name] not in (None, before[name]) and healthy(mesh), 20.0, what=f"{name} is back")
    after = mesh.pids
    assert {other: pid for other, pid in after.items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }


def test_a_frozen_process_is_killed_and_started_again(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    before = mesh.pids
    os.kill(before["two"], signal.SIGSTOP)
    wait_until(lambda: mesh.pids["two"] not in (None, before["two"]) and healthy(mesh), 120.0, what="two is back")
    assert "two gives no answer any more and is killed" in mesh.log("mesh")
    assert {name: pid for name, pid in mesh.pids.items() if name != "two"} == {
        name: pid for name, pid in before.items() if name != "two"
    }


def test_redis_keeps_what_was_written_when_it_is_killed(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    socket = mesh.state["processes"][0]["address"].removeprefix("unix://")
    with Redis(unix_socket_path=socket) as redis:
        redis.set("kept", "yes")
        pid = mesh.pids["redis"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: mesh.pids["redis"] not in (None, pid) and redis.ping(), 20.0)
        assert redis.get("kept") == b"yes"
        assert redis.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_no_process_outlives_a_killed_supervisor(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    pids = mesh.pids
    assert all(alive(pid) for pid in pids.values())
    mesh.process.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids.values()), 5.0, what="all processes are gone")
    assert lock_holder(DataFolder.at(mesh.data)) is None
    status = asyncio.run(mesh_status(DataFolder.at(mesh.data)))
    assert not status.healthy
    assert status.services == ()


def test_a_folder_whose_mesh_was_killed_serves_again(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    mesh.process.kill()
    again = little_mesh().ready()
    assert healthy(again)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_in_reverse_order_with_a_drain(little_mesh: Start, number: signal.Signals) -> None:
    mesh = little_mesh().ready()
    pids = mesh.pids
    mesh.process.signal(number)
    assert mesh.process.wait(15.0) == 0
    assert not any(alive(pid) for pid in pids.values())
    assert not (mesh.data / "mesh.json").exists()
    drained = re.findall(r"^(\w+) +\| drained", mesh.process.output, re.MULTILINE)
    assert drained == ["three", "two", "one"]
    assert mesh.process.output.index("drained") < mesh.process.output.index("is now ready to exit"), "Redis goes last"


def test_a_process_that_ignores_the_signal_is_killed_after_its_grace(little_mesh: Start) -> None:
    mesh = little_mesh("two=--deaf").ready()
    pids = mesh.pids
    assert mesh.process.stop(15.0) == 0
    assert not any(alive(pid) for pid in pids.values())
    assert "two did not stop within 1 s and is killed" in mesh.process.output


def test_a_second_signal_kills_at_once(little_mesh: Start) -> None:
    mesh = little_mesh("one=--deaf", "two=--deaf", "three=--deaf").ready()
    pids = mesh.pids
    begun = time.monotonic()
    mesh.process.signal(signal.SIGINT)
    wait_until(lambda: '"stopping"' in mesh.log("mesh"), 5.0)
    mesh.process.signal(signal.SIGINT)
    assert mesh.process.wait(10.0) == 0
    assert time.monotonic() - begun < 3.0, "each of the three would have had a grace of a second"
    assert not any(alive(pid) for pid in pids.values())


def test_what_a_killed_process_started_goes_with_it(little_mesh: Start) -> None:
    mesh = little_mesh("two=--spawn").ready()
    grandchild = int(re.findall(r"spawned (\d+)", mesh.log("two"))[-1])
    assert alive(grandchild)
    os.kill(mesh.pids["two"], signal.SIGKILL)
    wait_until(lambda: not alive(grandchild), 5.0)


def test_a_process_that_says_why_it_cannot_start_fails_the_start(little_mesh: Start) -> None:
    mesh = little_mesh("two=--refuse,3")
    assert mesh.process.wait(20.0) == 1
    assert mesh.process.output.splitlines()[-1] == (
        "MESH_START_FAILED two could not start (ended with status 3): the reason it can't start"
    )
    assert not (mesh.data / "mesh.json").exists()
    assert lock_holder(DataFolder.at(mesh.data)) is None


def test_a_process_that_keeps_crashing_is_started_again_ever_more_slowly(little_mesh: Start, tmp_path: Path) -> None:
    mesh = little_mesh(f"two=--once,{tmp_path / 'started'}").ready()
    os.kill(mesh.pids["two"], signal.SIGKILL)

    def delays() -> list[str]:
        return re.findall(r"two ended with status 7; it is started again in (\S+) s", mesh.log("mesh"))

    wait_until(lambda: len(delays()) >= 3, 10.0)
    first, second, third = (float(delay) for delay in delays()[:3])
    assert second == 2 * first
    assert third == 2 * second
    (tmp_path / "started").unlink()
    wait_until(lambda: healthy(mesh), 10.0, what="it is back once nothing is in its way")


def test_a_start_that_takes_too_long_names_what_is_late(little_mesh: Start) -> None:
    mesh = little_mesh("three=--never-healthy", timeout="3")
    assert mesh.process.wait(20.0) == 1
    assert mesh.process.output.splitlines()[-1] == "MESH_START_FAILED not healthy within 3 s: three"


def test_a_second_mesh_on_the_folder_is_refused_and_told_of_the_first(little_mesh: Start) -> None:
    first = little_mesh().ready()
    second = little_mesh()
    assert second.process.wait(15.0) == 1
    assert "DATA_FOLDER_IN_USE" in second.process.output
    assert f"process {first.process.pid}, serving on 127.0.0.1:1" in second.process.output
    assert healthy(first)


def test_two_meshes_live_side_by_side(little_mesh: Start) -> None:
    one, two = little_mesh(data="one"), little_mesh(data="two")
    assert healthy(one.ready())
    assert healthy(two.ready())
    one.process.stop()
    assert healthy(two)


def test_every_line_is_in_its_log_file_and_on_the_terminal_with_its_name(little_mesh: Start) -> None:
    mesh = little_mesh().ready()
    address = next(process["address"] for process in mesh.state["processes"] if process["name"] == "two")
    assert f"two   | serving {address}" in mesh.process.output.splitlines()
    assert f"serving {address}" in mesh.log("two").splitlines()
    assert "serving" not in mesh.log("mesh")
    assert '"event": "two is healthy after' in mesh.log("mesh")


async def test_health_is_asked_not_guessed(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.mktemp("s") / "nobody.sock"
    assert not await is_serving(f"unix:{nowhere}")
    assert not await is_serving(f"unix://{nowhere}")
    assert not await is_serving("127.0.0.1:1")
