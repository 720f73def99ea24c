"""From the services' messages to the client's records."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from nnpm.api.inference import inference_pb2
from nnpm.api.registry.v1 import package_pb2
from nnpm.api.scheduler.v1 import deployment_pb2
from nnpm.client import records
from nnpm.tensors.signature import TensorSpec


def package(message: package_pb2.Package) -> records.Package:
    """A package."""
    return records.Package(
        name=message.name,
        description=message.description,
        keywords=tuple(message.keywords),
        homepage=message.homepage,
        latest_version=message.latest_version,
        updated=_time(message.update_time),
    )


def version(message: package_pb2.Version) -> records.Version:
    """A version with what the inspection found."""
    return records.Version(
        package=message.package,
        version=message.version,
        digest=message.digest,
        state=_word(package_pb2.VersionState, "VERSION_STATE_", message.state),
        size=message.size,
        license=message.license,
        yanked=message.yanked,
        yank_reason=message.yank_reason,
        published=_time(message.publish_time),
        inputs=tuple(map(_tensor, message.signature.inputs)),
        outputs=tuple(map(_tensor, message.signature.outputs)),
        opsets=dict(message.inspection.opsets),
        producer=message.inspection.producer,
        manifest=message.manifest,
    )


def tag(message: package_pb2.Tag) -> records.Tag:
    """A tag."""
    return records.Tag(message.package, message.tag, message.version)


def deployment(message: deployment_pb2.Deployment) -> records.Deployment:
    """A deployment with its status."""
    status = message.status
    return records.Deployment(
        name=message.name,
        package=message.spec.package.package,
        selector=message.spec.package.selector or "latest",
        replicas=message.spec.replicas or 1,
        state=_word(deployment_pb2.DeploymentState, "DEPLOYMENT_STATE_", status.state),
        revision=status.revision,
        serving_revision=status.serving_revision,
        serving_version=status.serving_version,
        ready_replicas=status.ready_replicas,
        message=status.message,
        reason=status.reason,
        etag=message.etag,
    )


def model_info(message: inference_pb2.ModelMetadataResponse) -> records.ModelInfo:
    """A served model's metadata."""
    return records.ModelInfo(
        name=message.name,
        versions=tuple(message.versions),
        platform=message.platform,
        inputs=tuple(TensorSpec(one.name, one.datatype, tuple(one.shape)) for one in message.inputs),
        outputs=tuple(TensorSpec(one.name, one.datatype, tuple(one.shape)) for one in message.outputs),
    )


def statistics(message: inference_pb2.ModelStatistics) -> records.ModelStatistics:
    """A model's counters as means."""
    told = message.inference_stats
    return records.ModelStatistics(
        model=message.name,
        version=message.version,
        requests=told.success.count + told.fail.count,
        failures=told.fail.count,
        executions=message.execution_count,
        mean_ms=_mean(told.success),
        mean_queue_ms=_mean(told.queue),
        mean_compute_ms=_mean(told.compute_infer),
    )


def _tensor(message: package_pb2.TensorSpec) -> TensorSpec:
    return TensorSpec(message.name, message.datatype, tuple(message.shape), message.optional, message.unranked)


def _mean(duration: inference_pb2.StatisticDuration) -> float:
    return duration.ns / duration.count / 1e6 if duration.count else 0.0


def _time(stamp: Timestamp) -> datetime | None:
    return stamp.ToDatetime(UTC).astimezone() if stamp.seconds else None


def _word(enum: object, prefix: str, value: int) -> str:
    """An enum's value as the word behind its prefix; a value of a newer server as its number."""
    names: dict[int, str] = {number: name for name, number in enum.items()}  # type: ignore[attr-defined]
    return names.get(value, str(value)).removeprefix(prefix).lower()
