"""Malformed HTTP/2 and gRPC do no harm: no crash, no growth, and the next good call is answered."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import grpc
import numpy as np
import psutil
import pytest

from nnpm.api.inference import inference_pb2 as pb
from support import models
from support.hostile import INFER, KINDS, Kind, send
from support.mesh import Mesh

CONNECTIONS = 24
KEPT = 96 * 1024 * 1024
"""Bytes that an allocator may keep after all kinds; unbounded streams in gRPC core cost ten times that."""


def _request(package: str) -> bytes:
    inputs = [pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])]
    raw = np.ones(4, np.float32).tobytes()
    return pb.ModelInferRequest(model_name=package, inputs=inputs, raw_input_contents=[raw]).SerializeToString()


def _answer(mesh: Mesh, body: bytes) -> bytes:
    with grpc.insecure_channel(mesh.scheduler) as channel:
        answer: bytes = channel.unary_unary(INFER)(body, timeout=30)
        return answer


async def _attack(mesh: Mesh, kind: Kind, body: bytes, connections: int) -> None:
    random = Random(7)
    room = asyncio.Semaphore(8)

    async def one() -> None:
        async with room:
            await send(mesh.scheduler, kind(random, body))

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())


@pytest.fixture(scope="session")
def body(serve: Callable[..., tuple[str, Path]]) -> bytes:
    """A request that is answered."""
    return _request(serve(models.linear(seed=3), "hostile")[0])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.strip("_"))
def test_a_good_call_is_answered_as_before(mesh: Mesh, body: bytes, kind: Kind) -> None:
    before, pid = _answer(mesh, body), mesh.services()["scheduler-0"]["pid"]
    asyncio.run(_attack(mesh, kind, body, CONNECTIONS))
    assert _answer(mesh, body) == before
    assert mesh.services()["scheduler-0"]["pid"] == pid


def test_memory_comes_back(mesh: Mesh, body: bytes) -> None:
    scheduler = psutil.Process(mesh.services()["scheduler-0"]["pid"])

    def all_kinds() -> None:
        for kind in KINDS:
            asyncio.run(_attack(mesh, kind, body, 8))

    all_kinds()
    _answer(mesh, body)
    settled = scheduler.memory_info().rss
    all_kinds()
    _answer(mesh, body)
    assert scheduler.memory_info().rss - settled < KEPT
