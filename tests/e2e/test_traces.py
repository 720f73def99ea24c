"""One call is one trace: client, scheduler, worker and runtime; the batch that served it links to it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support import models
from support.mesh import Mesh
from support.otlp_receiver import OtlpReceiver, ReceivedSpan
from support.waiting import wait_until

SERVICES = {"nnpm-client", "nnpm-scheduler", "nnpm-worker"}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def traced_mesh(tmp_path: Path, receiver: OtlpReceiver) -> Iterator[Mesh]:
    """A mesh, and clients of it, whose spans go to `receiver`."""
    mesh = Mesh(
        tmp_path / "mesh", environment={"NNPM_OTLP_ENDPOINT": receiver.endpoint, "NNPM_TRACE_SAMPLE_RATIO": "1"}
    )
    try:
        yield mesh.up()
    finally:
        mesh.down()


def test_one_trace_over_client_scheduler_worker_and_runtime(
    traced_mesh: Mesh, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    mesh = traced_mesh
    mesh.publish(models.save(models.linear(), tmp_path), "test/traced")
    mesh.deploy("test/traced")
    mesh.infer("test/traced", {"x": np.ones((1, 4), dtype=np.float32)}, tmp_path, "--trace")

    def whole() -> list[ReceivedSpan]:
        """The trace that begins in the client, once all its services have reported."""
        for root in receiver.spans:
            if root.service == "nnpm-client" and not root.parent_id:
                trace = receiver.trace(root.trace_id)
                if {span.service for span in trace} >= SERVICES and _batches(receiver, root.trace_id):
                    return trace
        return []

    trace = wait_until(whole, 15, what="a whole trace")
    ids = {span.span_id for span in trace}
    (root,) = (span for span in trace if span.parent_id not in ids)
    assert root.service == "nnpm-client"
    assert {span.service for span in trace} == SERVICES
    assert "nnpm.runtime.run" in [span.name for span in trace if span.service == "nnpm-worker"]


def _batches(receiver: OtlpReceiver, trace_id: str) -> list[ReceivedSpan]:
    """The worker's batch spans that link to a trace."""
    return [
        span
        for span in receiver.spans
        if span.service == "nnpm-worker" and "batch" in span.name and any(link[0] == trace_id for link in span.links)
    ]


def test_infer_trace_prints_the_tree_with_no_other_software(mesh: Mesh, tmp_path: Path) -> None:
    mesh.publish(models.save(models.linear(), tmp_path), "test/tree")
    mesh.deploy("test/tree")
    np.save(tmp_path / "x.npy", np.ones((1, 4), dtype=np.float32))
    done = mesh.cli("infer", "test/tree", "-i", f"x={tmp_path / 'x.npy'}", "--trace")
    printed = done.stdout + done.stderr
    for part in ("scheduler", "worker", "batch", " ms"):
        assert part in printed, printed
