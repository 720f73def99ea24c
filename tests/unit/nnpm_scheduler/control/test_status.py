"""What a user is told: the state, and one line that says what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nnpm_scheduler.control.deployments import Failure
from nnpm_scheduler.control.failures import PATIENCE, Attempts, LoadError
from nnpm_scheduler.control.fleet import Worker
from nnpm_scheduler.control.status import (
    DeploymentState,
    RevisionState,
    View,
    deployment_status,
    revision_status,
)
from support.desired_state import deployment, revision, worker

ONE, TWO = revision(1), revision(2)
FAILURE = Failure("MODEL_LOAD_FAILED", "no ONNX file")
AWAY = LoadError("SERVER_UNREACHABLE", "artifact does not answer", transient=True)


def view(
    *workers: Worker, failures: Mapping[str, Attempts] | None = None, shortages: Mapping[str, str] | None = None
) -> View:
    return View(workers, failures or {}, shortages or {})


def test_a_new_deployment_says_what_it_waits_for() -> None:
    status = deployment_status(deployment(ONE), view(shortages={"r1": "no worker is connected that takes replicas"}))
    assert status.state is DeploymentState.PROGRESSING
    assert status.message == "waits for a worker: no worker is connected that takes replicas"
    assert (status.serving_revision, status.serving_version, status.ready_replicas) == (0, "", 0)


def test_loading_names_the_workers() -> None:
    status = deployment_status(deployment(ONE), view(worker("b", r1="loading"), worker("a", r1="loading")))
    assert status.message == "loading on a, b"


def test_a_warm_revision_is_ready_only_when_it_takes_calls() -> None:
    warm = view(worker("a", r1="ready"))
    assert deployment_status(deployment(ONE), warm).state is DeploymentState.PROGRESSING
    status = deployment_status(deployment(ONE, ONE), warm)
    assert status.state is DeploymentState.READY
    assert (status.revision, status.serving_revision, status.serving_version) == (1, 1, "1.0.0")
    assert (status.ready_replicas, status.message) == (1, "")


def test_an_update_under_way_names_the_version_that_still_serves() -> None:
    status = deployment_status(deployment(TWO, ONE), view(worker("a", r1="ready", r2="loading")))
    assert status.state is DeploymentState.PROGRESSING
    assert (status.revision, status.serving_revision, status.serving_version) == (2, 1, "1.0.0")


def test_a_failed_update_says_why_and_what_still_serves() -> None:
    failed = replace(TWO, failure=FAILURE)
    status = deployment_status(deployment(failed, ONE), view(worker("a", r1="ready")))
    assert status.state is DeploymentState.FAILED
    assert (status.reason, status.message) == ("MODEL_LOAD_FAILED", "no ONNX file")
    assert status.serving_version == "1.0.0"


def test_a_transient_failure_is_called_a_failure_when_patience_ends() -> None:
    def after(count: int) -> DeploymentState:
        return deployment_status(deployment(ONE), view(failures={"r1": Attempts(AWAY, count, 0.0)})).state

    assert after(1) is DeploymentState.PROGRESSING
    assert after(PATIENCE) is DeploymentState.FAILED
    status = deployment_status(deployment(ONE), view(failures={"r1": Attempts(AWAY, 1, 0.0)}))
    assert status.message == "will be tried again: artifact does not answer"


def test_fewer_replicas_than_wanted_are_ready_and_explained() -> None:
    wanted = revision(1, replicas=3)
    status = deployment_status(
        deployment(wanted, wanted),
        view(worker("a", r1="ready"), shortages={"r1": "workers that can run it: 1, and each holds one replica"}),
    )
    assert status.state is DeploymentState.READY
    assert status.message == "1 of 3 replicas are warm: workers that can run it: 1, and each holds one replica"


def test_a_deployment_whose_worker_was_lost_progresses() -> None:
    status = deployment_status(deployment(ONE, ONE), view())
    assert status.state is DeploymentState.PROGRESSING
    assert status.serving_revision == 0


def test_a_paused_deployment_is_paused_whatever_is_loaded() -> None:
    status = deployment_status(deployment(ONE, ONE, paused=True), view(worker("a", r1="unloading")))
    assert (status.state, status.paused) == (DeploymentState.PAUSED, True)


def test_each_revision_has_its_own_state() -> None:
    three = revision(3)
    wanted = deployment(three, TWO)
    workers: Sequence[Worker] = [worker("a", r1="ready", r2="ready", r3="loading")]

    def state(number: int) -> RevisionState:
        return revision_status(wanted, revision(number), view(*workers)).state

    assert state(1) is RevisionState.DRAINING
    assert state(2) is RevisionState.READY
    assert state(3) is RevisionState.PENDING
    assert revision_status(wanted, revision(1), view()).state is RevisionState.RETIRED
    failed = replace(three, failure=FAILURE)
    status = revision_status(deployment(failed, TWO), failed, view())
    assert (status.state, status.message) == (RevisionState.FAILED, "no ONNX file")


def test_of_revisions_that_share_replicas_the_newest_has_them() -> None:
    scaled = revision(2, id="r1", replicas=2)
    wanted, loaded = deployment(scaled, ONE), view(worker("a", r1="ready"))
    assert revision_status(wanted, ONE, loaded).state is RevisionState.RETIRED
    assert revision_status(wanted, scaled, loaded).state is RevisionState.READY
