from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from nnpm.api.inference import inference_pb2
from nnpm.api.registry.v1 import package_pb2
from nnpm.api.scheduler.v1 import deployment_pb2
from nnpm.client import from_messages


def test_a_version_says_when_it_was_published_in_any_time_zone() -> None:
    message = package_pb2.Version(
        package="acme/tiny",
        version="1.0.0",
        state=package_pb2.VERSION_STATE_READY,
        publish_time=Timestamp(seconds=1_800_000_000),
    )
    version = from_messages.version(message)
    assert version.published == datetime.fromtimestamp(1_800_000_000, UTC)
    assert version.state == "ready"
    assert from_messages.version(package_pb2.Version()).published is None


def test_a_state_of_a_newer_server_is_tolerated() -> None:
    message = deployment_pb2.Deployment(name="d", status=deployment_pb2.DeploymentStatus(state=77))  # type: ignore[arg-type]
    assert from_messages.deployment(message).state == "77"


def test_what_is_not_stated_has_its_default() -> None:
    deployment = from_messages.deployment(deployment_pb2.Deployment(name="d"))
    assert (deployment.selector, deployment.replicas, deployment.state) == ("latest", 1, "unspecified")


def test_statistics_are_means_in_milliseconds() -> None:
    message = inference_pb2.ModelStatistics(name="m", version="1.0.0", execution_count=3)
    message.inference_stats.success.count = 4
    message.inference_stats.success.ns = 8_000_000
    message.inference_stats.fail.count = 1
    told = from_messages.statistics(message)
    assert (told.requests, told.failures, told.mean_ms, told.mean_queue_ms) == (5, 1, 2.0, 0.0)
