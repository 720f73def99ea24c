"""Between the registry's records and the messages of `nnpm.api.registry.v1`."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from nnpm.api.registry.v1 import package_pb2
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_registry.records import Event, Facts, Namespace, Package, Tag, Version


def namespace_message(namespace: Namespace) -> package_pb2.Namespace:
    """A namespace."""
    return package_pb2.Namespace(name=namespace.name, create_time=_timestamp(namespace.create_time))


def package_message(package: Package) -> package_pb2.Package:
    """A package."""
    return package_pb2.Package(
        name=package.name,
        description=package.description,
        keywords=package.keywords,
        homepage=package.homepage,
        latest_version=package.latest_version,
        create_time=_timestamp(package.create_time),
        update_time=_timestamp(package.update_time),
        etag=package.etag,
    )


def package_record(message: package_pb2.Package) -> Package:
    """What a caller says of a package."""
    return Package(
        message.name,
        message.description,
        tuple(message.keywords),
        message.homepage,
        message.latest_version,
        _moment(message.create_time),
        _moment(message.update_time),
        message.etag,
    )


def version_message(version: Version) -> package_pb2.Version:
    """A version in any state."""
    message = package_pb2.Version(
        package=version.package,
        version=version.version,
        state=package_pb2.VersionState.Value(f"VERSION_STATE_{version.state.value}"),
        manifest=version.manifest,
        digest=version.digest,
        size=version.size,
        yanked=version.yanked,
        yank_reason=version.yank_reason,
        rejections=[
            package_pb2.Rejection(reason=each.reason, message=each.message, hint=each.hint)
            for each in version.rejections
        ],
        create_time=_timestamp(version.create_time),
        license=version.license,
    )
    if version.publish_time is not None:
        message.publish_time.CopyFrom(_timestamp(version.publish_time))
    if version.signature is not None:
        message.signature.CopyFrom(_signature(version.signature))
    if version.facts is not None:
        message.inspection.CopyFrom(_inspection(version.facts))
    return message


def tag_message(tag: Tag) -> package_pb2.Tag:
    """A tag."""
    return package_pb2.Tag(
        package=tag.package,
        tag=tag.tag,
        version=tag.version,
        update_time=_timestamp(tag.update_time),
        etag=tag.etag,
    )


def tag_record(message: package_pb2.Tag) -> Tag:
    """What a caller says of a tag."""
    return Tag(message.package, message.tag, message.version, _moment(message.update_time), message.etag)


def event_message(event: Event) -> package_pb2.Event:
    """An event."""
    return package_pb2.Event(
        type=package_pb2.EventType.Value(f"EVENT_TYPE_{event.type.value}"),
        package=event.package,
        version=event.version,
        tag=event.tag,
        time=_timestamp(event.time),
    )


def _signature(signature: Signature) -> package_pb2.Signature:
    return package_pb2.Signature(inputs=map(_tensor, signature.inputs), outputs=map(_tensor, signature.outputs))


def _tensor(spec: TensorSpec) -> package_pb2.TensorSpec:
    return package_pb2.TensorSpec(
        name=spec.name, datatype=spec.datatype, shape=spec.shape, optional=spec.optional, unranked=spec.unranked
    )


def _inspection(facts: Facts) -> package_pb2.Inspection:
    return package_pb2.Inspection(
        ir_version=facts.ir_version,
        opsets=facts.opsets,
        producer=facts.producer,
        operators=facts.operators,
        parameter_count=facts.parameter_count,
    )


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime()
