"""The mesh as containers: built, started, killed, scaled, stopped and upgraded, under a steady trickle of calls.

The tests stand in the order in which they run; each leaves the mesh healthy for the next.
"""

import re
import shutil
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import models
from support.containers import images
from support.containers.composed import SERVICES, Composed
from support.containers.images import BASE_LIMITS_MB, Built
from support.containers.podman import podman
from support.containers.trickle import DOCUMENTED, Published, Trickle
from support.otlp_receiver import OtlpReceiver, ReceivedSpan
from support.waiting import wait_until

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("containers")]

MIGRATION = '''"""A table more."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("of_a_test", sa.Column("id", sa.Integer, primary_key=True))
'''

BACK_S = 10.0
"""How long after a crash calls may fail."""


def trickle(mesh: Composed, published: Published, threads: int = 2) -> Trickle:
    return Trickle(mesh.scheduler, published, threads=threads)


def test_each_image_is_within_its_limit(built: dict[str, Built], figures: list[str]) -> None:
    for target, image in built.items():
        limit = BASE_LIMITS_MB.get(target)
        told = f" (at most {limit})" if limit else ""
        figures.append(f"image {target}: {image.megabytes:.0f} MB above the base{told}, built in {image.seconds:.0f} s")
    for target, limit in BASE_LIMITS_MB.items():
        assert built[target].megabytes <= limit, target


def test_the_build_context_is_small(tree: Path, figures: list[str]) -> None:
    """All that .dockerignore lets through, as an image of nothing else."""
    podman(
        "build",
        "--quiet",
        "--file",
        "-",
        "--tag",
        "localhost/nnpm-test/context",
        tree,
        stdin="FROM scratch\nCOPY . /\n",
    )
    size = images.inspect("image", "localhost/nnpm-test/context")["Size"] / 1e6
    podman("rmi", "localhost/nnpm-test/context")
    figures.append(f"build context: {size:.1f} MB")
    assert size < 10


def test_the_host_gets_the_right_answers_through_tritonclient(mesh: Composed, published: Published) -> None:
    with triton.InferenceServerClient(mesh.scheduler) as client:
        assert client.is_server_ready()
        assert client.is_model_ready(published.package)
        x = np.arange(12, dtype=np.float32).reshape(3, 4)
        given = triton.InferInput("x", [3, 4], "FP32")
        given.set_data_from_numpy(x)
        answer = client.infer(published.package, [given]).as_numpy("y")
    np.testing.assert_allclose(answer, published.expected(x), atol=1e-5)


def test_one_trace_of_a_call_arrives_outside(mesh: Composed, published: Published, receiver: OtlpReceiver) -> None:
    """The caller asks for it by its traceparent; scheduler, worker and runtime report under that id."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with triton.InferenceServerClient(mesh.scheduler) as client:
        given = triton.InferInput("x", [1, 4], "FP32")
        given.set_data_from_numpy(np.ones((1, 4), np.float32))
        client.infer(published.package, [given], headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})

    def whole() -> list[ReceivedSpan]:
        trace = receiver.trace(trace_id)
        named = {span.name for span in trace}
        return (
            trace
            if {span.service for span in trace} >= {"nnpm-scheduler", "nnpm-worker"} and ("nnpm.runtime.run" in named)
            else []
        )

    wait_until(whole, 20, what=f"the whole trace; arrived: {receiver.spans}")


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_container_comes_back_and_calls_go_on(
    service: str, mesh: Composed, published: Published, figures: list[str]
) -> None:
    container = mesh.container(service)
    with trickle(mesh, published) as calls:
        calls.wait_for_successes(20, 30)
        killed = time.monotonic()
        pid = mesh.crash(container)
        wait_until(lambda: mesh.pid(container) not in (0, pid), BACK_S, what=f"{service} is started again")
        mesh.wait_healthy(30, (service,))
        calls.wait_for_successes(50, 30)
    late = [call for call in calls.failed if call.ended > killed + BACK_S]
    figures.append(f"kill {service}: {calls.statuses()}, longest time without an answer {calls.longest_outage():.1f} s")
    assert not late, late[:5]
    assert {call.status for call in calls.failed} <= DOCUMENTED, calls.failed[:5]
    assert mesh.deployments() == {"test-linear": "ready"}
    assert mesh.versions(published.package) == ["1.0.0"]


@pytest.mark.parametrize("service", ["registry", "artifact", "scheduler", "worker", "minio"])
def test_a_container_that_is_told_to_stop_ends_inside_ten_seconds(
    service: str, mesh: Composed, published: Published, figures: list[str]
) -> None:
    """With calls in flight; exit code 0 says that it was its own way to end and not SIGKILL's."""
    container = mesh.container(service)
    with trickle(mesh, published) as calls:
        calls.wait_for_successes(10, 30)
        seconds, code = mesh.stop(container)
        figures.append(f"stop {service}: {seconds:.1f} s, exit code {code}")
        podman("start", container)
        mesh.wait_healthy(60, (service,))
        calls.wait_for_successes(20, 30)
    assert (seconds < 10, code) == (True, 0)
    assert {call.status for call in calls.failed} <= DOCUMENTED, calls.failed[:5]


def test_a_worker_with_an_endless_run_in_hand_ends_inside_ten_seconds_all_the_same(
    mesh: Composed, tmp_path: Path, figures: list[str]
) -> None:
    """And the call that it had in hand ends as its deadline says."""
    models.save(models.loop(), tmp_path / "loop")
    (tmp_path / "loop" / "nnpm.toml").write_text(
        'name = "test/loop"\nversion = "1.0.0"\nlicense = "Apache-2.0"\nmodel = "model.onnx"\nbatch_axis = "none"\n'
    )
    mesh.nnpm("publish", str(tmp_path / "loop"))
    mesh.nnpm("deploy", "test/loop", "--wait")
    container = mesh.container("worker")
    ended: Future[InferenceServerException] = Future()
    with triton.InferenceServerClient(mesh.scheduler) as client:
        before = mesh.processor_seconds(container)
        client.async_infer(
            "test/loop", _loop_inputs(10**9), lambda result, error: ended.set_result(error), client_timeout=15
        )
        wait_until(lambda: mesh.processor_seconds(container) > before + 1, 10, what="the run has begun")
        seconds, _ = mesh.stop(container)
        assert "DEADLINE_EXCEEDED" in str(ended.result(20).status())
    figures.append(f"stop worker amid a run without an end: {seconds:.1f} s")
    mesh.nnpm("undeploy", "test/loop")
    podman("start", container)
    mesh.wait_healthy(60, ("worker",))
    assert seconds < 10


def _loop_inputs(turns: int) -> list[triton.InferInput]:
    given = [triton.InferInput("turns", [], "INT64"), triton.InferInput("x", [1, 4], "FP32")]
    given[0].set_data_from_numpy(np.array(turns, np.int64))
    given[1].set_data_from_numpy(np.ones((1, 4), np.float32))
    return given


def test_workers_come_and_go_under_load_and_no_call_fails(
    mesh: Composed, published: Published, figures: list[str]
) -> None:
    mesh.nnpm("deploy", published.package, "--replicas", "1", "--wait")
    with trickle(mesh, published, threads=4) as calls:
        calls.wait_for_successes(50, 30)
        mesh.scale("worker", 3)
        mesh.wait_healthy(60, ("worker",))
        assert len(mesh.containers("worker")) == 3
        calls.wait_for_successes(200, 60)
        mesh.scale("worker", 1)
        wait_until(lambda: len(mesh.containers("worker")) == 1, 60, what="one worker is left")
        calls.wait_for_successes(200, 60)
    figures.append(f"worker scaled 1 to 3 and back: {calls.statuses()}")
    assert calls.failed == []


def test_what_was_published_and_deployed_outlives_down_and_up(
    mesh: Composed, published: Published, figures: list[str]
) -> None:
    mesh.down()
    begin = time.monotonic()
    mesh.up()
    mesh.wait_healthy()
    with trickle(mesh, published) as calls:
        calls.wait_for_successes(10, 60)
    figures.append(f"down, up again until the tenth answer: {time.monotonic() - begin:.1f} s")
    assert mesh.deployments() == {"test-linear": "ready"}
    assert mesh.versions(published.package) == ["1.0.0"]
    assert calls.failed == [] or {call.status for call in calls.failed} <= DOCUMENTED


def test_an_upgrade_in_place_keeps_everything_and_migrates(
    mesh: Composed, published: Published, tmp_path: Path, figures: list[str]
) -> None:
    """Another version, with one more migration in each service's history, built and started over the old."""
    upgraded = tmp_path / "clone"
    shutil.copytree(mesh.tree, upgraded)
    revisions = _add_migrations(upgraded)
    begin = time.monotonic()
    images.build(upgraded, "0.1.1")
    figures.append(f"images of the next version, dependencies as they were: {time.monotonic() - begin:.0f} s")
    mesh.become(upgraded, "0.1.1")
    mesh.up()
    mesh.wait_healthy()
    for service in ("registry", "artifact", "scheduler"):
        assert mesh.exec(service, "nnpm", "version").strip() == "nnpm 0.1.1"
        assert mesh.revision(service) == revisions[service]
    with trickle(mesh, published) as calls:
        calls.wait_for_successes(20, 60)
    assert mesh.deployments() == {"test-linear": "ready"}
    assert mesh.versions(published.package) == ["1.0.0"]
    target = tmp_path / "installed"
    mesh.nnpm("install", published.package, "--to", str(target))
    assert (target / published.model.name).read_bytes() == published.model.read_bytes()


def _add_migrations(tree: Path) -> dict[str, str]:
    """One more to each service; the new revisions by service."""
    folders = {
        "registry": "services/nnpm_registry/migrations/versions",
        "artifact": "services/nnpm_artifact/migrations/versions",
        "scheduler": "services/nnpm_scheduler/control/migrations/versions",
    }
    revisions = {}
    for service, folder in folders.items():
        newest = max((tree / folder).glob("[0-9]*.py"))
        (head,) = re.findall(r'^revision\b.*= "(.+)"', newest.read_text(), re.MULTILINE)
        revisions[service] = f"{int(head[:4]) + 1:04}"
        migration = MIGRATION.format(revision=revisions[service], down_revision=head)
        (tree / folder / f"{revisions[service]}_of_a_test.py").write_text(migration)
    return revisions
