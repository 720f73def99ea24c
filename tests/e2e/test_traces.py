"""One call is one trace: client, scheduler, worker and runtime; the batch that served it links to it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support import models
from support.mesh import Mesh
from support.otlp_receiver import OtlpReceiver, ReceivedSpan
from support.waiting import wait_until


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
    mesh.infer("test/traced", {"x": np.ones((1, 4), dtype=np.float32)}, tmp_path)

    def whole() -> list[ReceivedSpan]:
        for span in receiver.spans:
            if "ModelInfer" in span.name:
                trace = receiver.trace(span.trace_id)
                services = {part.service for part in trace}
                if len(services) >= 3 and any("batch" in part.name for part in receiver.spans):
                    return trace
        return []

    trace = wait_until(whole, 15, what=f"a whole trace; came: {sorted({s.service for s in receiver.spans})}")
    services = {span.service for span in trace}
    assert any("scheduler" in service for service in services), services
    assert any("worker" in service for service in services), services
    assert len(services) == 3, services
    ids = {span.span_id for span in trace}
    (root,) = (span for span in trace if span.parent_id not in ids)
    assert "scheduler" not in root.service
    assert "worker" not in root.service
    assert any("run" in span.name for span in trace), [span.name for span in trace]
    linked = [span for span in receiver.spans if any(link[0] == root.trace_id for link in span.links)]
    assert any("batch" in span.name for span in linked), [span.name for span in receiver.spans]


def test_infer_trace_prints_the_tree_with_no_other_software(mesh: Mesh, tmp_path: Path) -> None:
    mesh.publish(models.save(models.linear(), tmp_path), "test/tree")
    mesh.deploy("test/tree")
    np.save(tmp_path / "x.npy", np.ones((1, 4), dtype=np.float32))
    done = mesh.cli("infer", "test/tree", "-i", f"x={tmp_path / 'x.npy'}", "--trace")
    printed = done.stdout + done.stderr
    for part in ("scheduler", "worker", "batch", " ms"):
        assert part in printed, printed
