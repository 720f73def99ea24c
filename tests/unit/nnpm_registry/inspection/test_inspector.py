"""The inspection in a process of its own: whatever the model does, the answer is a report."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from onnx import helper

from nnpm.errors import Unavailable
from nnpm_registry.inspection.inspector import Inspector, Limits
from nnpm_registry.inspection.process import InspectionProcess
from nnpm_registry.records import Report
from support import models
from support.onnx_parts import function_bomb
from support.processes import resident_bytes
from support.waiting import eventually

LIMITS = Limits(memory_bytes=2 << 30, seconds=60, at_once=2)


async def look(content: bytes, limits: Limits = LIMITS, size: int | None = None) -> Report:
    async def read(offset: int, length: int) -> AsyncIterator[bytes]:
        yield content[offset : offset + length]

    return await Inspector(limits).inspect("model.onnx", {"model.onnx": size or len(content)}, read)


def reasons(report: Report) -> list[str]:
    return [rejection.reason for rejection in report.rejections]


def many_nodes(count: int) -> bytes:
    model = models.identity()
    for number in range(count):
        model.graph.node.append(helper.make_node("Identity", ["x"], [f"o{number}"]))
    return model.SerializeToString()


async def test_a_good_model_is_reported_whole() -> None:
    report = await look(models.linear().SerializeToString())
    assert report.rejections == ()
    assert report.signature.inputs[0].name == "x"
    assert report.facts.operators == ("Gemm",)


async def test_a_model_that_takes_too_much_memory_is_refused() -> None:
    report = await look(many_nodes(200_000), Limits(memory_bytes=300 << 20, seconds=60, at_once=1))
    assert reasons(report) in (["INSPECTION_LIMIT"], ["INSPECTION_CRASHED"])


async def test_a_model_that_takes_too_long_is_refused() -> None:
    report = await look(many_nodes(200_000), Limits(memory_bytes=2 << 30, seconds=1, at_once=1))
    assert reasons(report) == ["INSPECTION_LIMIT"]


async def test_functions_that_unfold_without_end_are_refused() -> None:
    content = function_bomb().SerializeToString()
    report = await look(content, Limits(memory_bytes=512 << 20, seconds=5, at_once=1))
    assert reasons(report) in (["INSPECTION_LIMIT"], ["INSPECTION_CRASHED"], ["MODEL_CHECK_FAILED"])


async def test_this_process_stays_small_and_free_whatever_the_model_is() -> None:
    before = resident_bytes(os.getpid())
    content = many_nodes(100_000)
    longest, ended = 0.0, asyncio.Event()

    async def beat() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while not ended.is_set():
            start = loop.time()
            await asyncio.sleep(0.01)
            longest = max(longest, loop.time() - start)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(beat())
        report = await look(content)
        ended.set()
    assert report.rejections == ()
    assert longest < 2
    assert resident_bytes(os.getpid()) - before < 100 << 20


async def test_what_reading_the_file_raises_is_raised() -> None:
    async def read(offset: int, length: int) -> AsyncIterator[bytes]:
        raise Unavailable("ARTIFACT_UNREACHABLE", "gone")
        yield b""

    with pytest.raises(Unavailable, match="gone"):
        await Inspector(LIMITS).inspect("model.onnx", {"model.onnx": 10}, read)


async def test_a_process_that_dies_is_a_report() -> None:
    async def read(offset: int, length: int) -> AsyncIterator[bytes]:
        for pid in children():
            os.kill(pid, signal.SIGSEGV)
        yield b"\x00" * length

    report = await Inspector(LIMITS).inspect("model.onnx", {"model.onnx": 1 << 20}, read)
    assert reasons(report) == ["INSPECTION_CRASHED"]


def children() -> list[int]:
    """The inspections of this process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"nnpm_registry.inspection" in command and parent == os.getpid():
            found.append(int(folder.name))
    return found


async def test_a_cancelled_inspection_leaves_no_process() -> None:
    started = asyncio.Event()

    async def read(offset: int, length: int) -> AsyncIterator[bytes]:
        started.set()
        await asyncio.Event().wait()
        yield b""

    inspection = asyncio.create_task(Inspector(LIMITS).inspect("model.onnx", {"model.onnx": 10}, read))
    async with asyncio.timeout(20):
        await started.wait()
    assert children()
    inspection.cancel()
    with pytest.raises(asyncio.CancelledError):
        await inspection
    await eventually(lambda: not children())


async def test_the_process_has_no_secret_and_no_file_of_its_parent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NNPM_REGISTRY_DATABASE_URL", "postgresql://user:secret@host/db")
    with (tmp_path / "held").open("w") as held, socket.socket() as listening:
        os.set_inheritable(held.fileno(), True)
        os.set_inheritable(listening.fileno(), True)
        async with InspectionProcess.started(2 << 30, 10) as process:
            folder = Path(f"/proc/{process.pid}")
            await eventually(lambda: b"nnpm_registry.inspection" in (folder / "cmdline").read_bytes())
            assert b"secret" not in (folder / "environ").read_bytes()
            links = _open_files(folder)
            assert str(tmp_path / "held") not in links
            assert sum(link.startswith("socket:") for link in links) == 1
            assert os.getsid(process.pid) == process.pid


def _open_files(folder: Path) -> set[str]:
    """What a process in /proc has open; it opens and closes files meanwhile."""
    links = set()
    for entry in (folder / "fd").iterdir():
        with suppress(FileNotFoundError):
            links.add(str(entry.readlink()))
    return links


async def test_the_process_is_confined_before_it_reads() -> None:
    async with InspectionProcess.started(1 << 30, 10) as process:
        limits = Path(f"/proc/{process.pid}/limits")

        def confined() -> bool:
            rows = {line[:26].strip(): line[26:].split()[0] for line in limits.read_text().splitlines()[1:]}
            return (
                rows["Max address space"] == str(1 << 30)
                and rows["Max cpu time"] == "10"
                and rows["Max file size"] == "0"
                and rows["Max core file size"] == "0"
            )

        await eventually(confined)
