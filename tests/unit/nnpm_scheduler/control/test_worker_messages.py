"""What workers say and are told, message by message."""

import pytest

from nnpm.api.worker.v1 import worker_pb2 as pb
from nnpm.errors import DataLoss, InvalidArgument, NnpmError, ResourceExhausted, Unavailable
from nnpm.rpc.status import to_status
from nnpm_scheduler.control.failures import LoadError
from nnpm_scheduler.control.fleet import Replica, ReplicaState, Report
from nnpm_scheduler.control.sessions import BeginVerdict, CancelCommand, DrainCommand, LoadCommand, UnloadCommand
from nnpm_scheduler.control.worker_messages import facts_of, message_of, replicas_of, report_of
from support.desired_state import revision


def test_a_workers_facts_are_taken_over() -> None:
    hello = pb.Hello(incarnation="i", name="worker-0", memory_bytes=5, cores=2, runtimes=["onnx"], labels={"a": "b"})
    facts = facts_of(hello)
    assert (facts.incarnation, facts.name, facts.memory, facts.cores) == ("i", "worker-0", 5, 2)
    assert (facts.runtimes, facts.labels) == (("onnx",), {"a": "b"})
    assert facts_of(pb.Hello(incarnation="i")).name == "i"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (pb.MODEL_STATE_FETCHING, ReplicaState.LOADING),
        (pb.MODEL_STATE_LOADING, ReplicaState.LOADING),
        (pb.MODEL_STATE_READY, ReplicaState.READY),
        (pb.MODEL_STATE_UNLOADING, ReplicaState.UNLOADING),
    ],
)
def test_each_model_state_means_a_replicas_state(state: pb.ModelState, expected: ReplicaState) -> None:
    status = pb.ModelStatus(revision="r1", state=state, memory_bytes=9, batched=True, max_batch_size=32)
    assert report_of(status) == Report("r1", Replica("r1", expected, 9, True, 32))


@pytest.mark.parametrize("state", [pb.MODEL_STATE_UNLOADED, pb.MODEL_STATE_UNSPECIFIED, 99])
def test_what_is_gone_or_unknown_is_no_replica(state: pb.ModelState) -> None:
    assert report_of(pb.ModelStatus(revision="r1", state=state)) == Report("r1", None)


def test_hello_counts_only_what_is_there() -> None:
    states = [pb.MODEL_STATE_READY, pb.MODEL_STATE_FAILED, pb.MODEL_STATE_UNLOADED]
    models = [pb.ModelStatus(revision=f"r{number}", state=state) for number, state in enumerate(states)]
    assert [replica.revision for replica in replicas_of(models)] == ["r0"]


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (InvalidArgument("MODEL_LOAD_FAILED", "no ONNX"), False),
        (DataLoss("CACHE_CORRUPT", "bits"), False),
        (Unavailable("SERVER_UNREACHABLE", "away"), True),
        (ResourceExhausted("OUT_OF_MEMORY", "big"), True),
    ],
)
def test_the_code_of_a_failure_says_whether_to_try_again(error: NnpmError, transient: bool) -> None:
    report = report_of(pb.ModelStatus(revision="r1", state=pb.MODEL_STATE_FAILED, error=to_status(error)))
    assert report == Report("r1", None, LoadError(error.reason, error.message, transient))


def test_a_failures_hint_is_kept() -> None:
    error = to_status(InvalidArgument("RUNTIME_UNKNOWN", "no such runtime", hint="install it"))
    report = report_of(pb.ModelStatus(revision="r1", state=pb.MODEL_STATE_FAILED, error=error))
    assert report.error is not None
    assert report.error.message == "no such runtime (install it)"


def test_a_load_carries_all_that_a_worker_needs() -> None:
    load = message_of(LoadCommand(7, revision(1))).load
    assert (load.fencing_token, load.revision, load.namespace, load.package) == (7, "r1", "acme", "acme/tiny")
    assert (load.version, load.manifest, load.manifest_digest) == (
        "1.0.0",
        b'{"version":"1.0.0"}',
        revision(1).published.digest,
    )
    x, mask = load.inputs
    assert (x.name, x.datatype, list(x.shape), x.optional) == ("x", "FP32", [-1, 4], False)
    assert (mask.optional, list(mask.shape)) == (True, [])
    assert load.outputs[0].unranked


def test_the_other_commands_have_their_messages() -> None:
    assert message_of(UnloadCommand(7, "r1")).unload == pb.Unload(fencing_token=7, revision="r1")
    assert list(message_of(CancelCommand((1, 2))).cancel.numbers) == [1, 2]
    assert message_of(DrainCommand()).HasField("drain")
    assert message_of(BeginVerdict(5, wanted=True)).go.number == 5
    assert message_of(BeginVerdict(5, wanted=False)).not_wanted.number == 5
