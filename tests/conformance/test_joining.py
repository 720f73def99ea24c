"""Requests are joined only where that changes no answer: under concurrent load each answer is the one it gets alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton

from support import models
from support.mesh import Mesh
from support.reference import Reference, differences

Serve = Callable[..., tuple[str, Path]]

NEVER_JOINED = {
    "softmax-over-axis-0": models.softmax_over_axis_0(),
    "sequence-features": models.sequence_features(),
    "nonzero": models.nonzero(),
    "loses-batch-axis": models.loses_batch_axis(),
}


def _questions(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(31)
    return [
        (random.integers(-2, 3, (int(random.integers(1, 6)), 4))).astype(np.float32) * np.float32(0.37)
        for _ in range(count)
    ]


def _ask_all(mesh: Mesh, package: str, questions: list[np.ndarray]) -> list[np.ndarray]:
    """The answers, all asked at once by 32 threads."""
    with triton.InferenceServerClient(mesh.scheduler) as client, ThreadPoolExecutor(32) as threads:

        def ask(x: np.ndarray) -> np.ndarray:
            given = triton.InferInput("x", list(x.shape), "FP32")
            given.set_data_from_numpy(x)
            return client.infer(package, [given], client_timeout=30).as_numpy("y")

        return list(threads.map(ask, questions))


@pytest.mark.parametrize("model", NEVER_JOINED.values(), ids=NEVER_JOINED)
def test_never_joined_wrongly(mesh: Mesh, serve: Serve, model: onnx.ModelProto, request: pytest.FixtureRequest) -> None:
    package, path = serve(model, request.node.callspec.id)
    questions = _questions(320)
    answers = _ask_all(mesh, package, questions)
    reference = Reference(path)
    for x, y in zip(questions, answers, strict=True):
        assert not differences(reference.run({"x": x}), {"y": y})


def test_a_batchable_model_is_joined_under_the_same_load(mesh: Mesh, serve: Serve) -> None:
    """What the other tests show is not that nothing is ever joined."""
    package, path = serve(models.linear(), "joined")
    questions = _questions(640)
    answers = _ask_all(mesh, package, questions)
    reference = Reference(path)
    for x, y in zip(questions, answers, strict=True):
        np.testing.assert_allclose(y, reference.run({"x": x})["y"], rtol=1e-5, atol=1e-6)
    with triton.InferenceServerClient(mesh.scheduler) as client:
        (statistics,) = client.get_inference_statistics(package).model_stats
    assert statistics.execution_count < 640
