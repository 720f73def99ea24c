"""ModelStreamInfer on a mesh: a thousand requests in flight on one stream, a hundred of them cancelled midway."""

from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import grpc
import numpy as np
import pytest

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.inference import inference_pb2_grpc
from support import models
from support.mesh import Mesh
from support.waiting import wait_until

WAIT = 60.0
COUNT = 1_000
CANCELLED = set(range(400, 700, 3))
HEAD_START = 1.0
"""Seconds that the first run takes: meanwhile all requests come."""

Stub = inference_pb2_grpc.GRPCInferenceServiceStub


@pytest.fixture(scope="module")
def slow(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A deployed model that sleeps for as many seconds as its input says, one request at a time."""
    folder = tmp_path_factory.mktemp("sleep")
    models.save(models.identity(shape=("n", 1)), folder)
    (folder / "nnpm.toml").write_text(
        'name = "test/stream-sleep"\nversion = "1.0.0"\nlicense = "Apache-2.0"\n'
        'model = "model.onnx"\nruntime = "sleep"\nbatch_axis = "none"\n'
    )
    mesh.cli("publish", str(folder))
    mesh.deploy("test/stream-sleep", "--wait")
    return "test/stream-sleep"


@pytest.fixture
def stub(mesh: Mesh) -> Iterator[Stub]:
    with grpc.insecure_channel(mesh.scheduler) as channel:
        yield Stub(channel)


def _tensor(number: int) -> bytes:
    """How many seconds a request takes, which also says which one it is."""
    return np.float32(number / 1e6 if number else HEAD_START).tobytes()


def _request(model: str, number: int) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, id=str(number))
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(_tensor(number))
    return request


def _cancel(model: str, number: int) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    request.parameters["nnpm_cancel"].string_param = str(number)
    return request


def _ran(stub: Stub, model: str) -> int:
    (statistics,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name=model), timeout=WAIT).model_stats
    return int(statistics.inference_count)


def _round(stub: Stub, model: str, order: str) -> list[int]:
    """Sends all, cancels some while the first one runs; the numbers in the order of their answers."""
    requests: Queue[pb.ModelInferRequest | None] = Queue()
    answers = stub.ModelStreamInfer(iter(requests.get, None), timeout=WAIT, metadata=[("nnpm-stream-order", order)])
    for number in range(COUNT):
        requests.put(_request(model, number))
    for number in sorted(CANCELLED):
        requests.put(_cancel(model, number))
    requests.put(None)
    came = []
    for answer in answers:
        assert not answer.error_message
        number = int(answer.infer_response.id)
        assert answer.infer_response.raw_output_contents == [_tensor(number)]
        came.append(number)
    return came


@pytest.mark.parametrize("order", ["request", "completion"])
def test_nine_hundred_are_answered_and_the_cancelled_are_never_run(stub: Stub, slow: str, order: str) -> None:
    before = _ran(stub, slow)
    came = _round(stub, slow, order)
    assert len(came) == COUNT - len(CANCELLED) == 900
    assert set(came) == set(range(COUNT)) - CANCELLED
    if order == "request":
        assert came == sorted(came)
    wait_until(lambda: _ran(stub, slow) == before + 900, WAIT, what="all runs are counted")


def test_what_a_stream_held_is_given_back(mesh: Mesh, stub: Stub, slow: str) -> None:
    (scheduler,) = [each for each in mesh.json("status")["services"] if each["name"] == "scheduler-0"]

    def resident() -> int:
        """Pages."""
        return int(Path(f"/proc/{scheduler['pid']}/statm").read_text().split()[1])

    for order in ("request", "completion"):
        _round(stub, slow, order)
    sizes = []
    for _ in range(8):
        _round(stub, slow, "completion")
        sizes.append(resident())
    # How much is in the air at once, and so how much the heap ever took, differs with the machine's load; rounds do not
    # add up.
    assert min(sizes[-3:]) < max(sizes[:3]) * 1.01, sizes
