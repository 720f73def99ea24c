"""Between the tables' rows and what they mean."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row

from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.control.deployments import Batching, Deployment, Failure, PublishedVersion, Revision, Spec
from nnpm_scheduler.dispatch.quotas import Quota

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

AnyRow = Row[Any]


def deployment_of(row: AnyRow, newest: Revision, serving: Revision | None) -> Deployment:
    """A deployment from its row and the revisions that the row names."""
    return Deployment(
        name=row.name,
        uid=row.uid,
        generation=row.generation,
        paused=row.paused,
        newest=newest,
        serving=serving,
        create_time=time_of(row.create_time),
        update_time=time_of(row.update_time),
    )


def revision_of(row: AnyRow) -> Revision:
    """A revision from its row."""
    return Revision(
        number=row.number,
        id=row.id,
        spec=Spec(
            row.package, row.selector, row.replicas, _batching_of(row), Quota(row.quota_rate, row.quota_in_flight)
        ),
        published=PublishedVersion(
            package=row.package,
            version=row.version,
            digest=row.digest,
            manifest=row.manifest,
            signature=_signature_of(row.signature),
            size=row.size,
            runtime=row.runtime,
        ),
        create_time=time_of(row.create_time),
        failure=Failure(row.failure_reason, row.failure_message or "") if row.failure_reason else None,
    )


def revision_values(uid: str, revision: Revision) -> dict[str, object]:
    """The row of a deployment's revision."""
    spec, published, failure = revision.spec, revision.published, revision.failure
    return {
        "deployment": uid,
        "number": revision.number,
        "id": revision.id,
        "package": spec.package,
        "selector": spec.selector,
        "replicas": spec.replicas,
        "max_batch_size": spec.batching.max_batch_size,
        "max_queue_delay_us": spec.batching.max_queue_delay,
        "preferred_batch_sizes": ",".join(map(str, spec.batching.preferred)),
        "quota_rate": spec.quota.rate,
        "quota_in_flight": spec.quota.in_flight,
        "version": published.version,
        "digest": published.digest,
        "manifest": published.manifest,
        "signature": json.dumps(asdict(published.signature)),
        "size": published.size,
        "runtime": published.runtime,
        "failure_reason": failure.reason if failure else None,
        "failure_message": storable(failure.message) if failure else None,
        "create_time": microseconds(revision.create_time),
    }


def storable(text: str) -> str:
    """What a runtime says of a model may hold NUL, which no text in PostgreSQL can."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def time_of(stored: int) -> datetime:
    """A time from its microseconds since 1970."""
    return _EPOCH + stored * _MICROSECOND


def microseconds(time: datetime) -> int:
    """A time as microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def _batching_of(row: AnyRow) -> Batching:
    preferred = tuple(int(size) for size in row.preferred_batch_sizes.split(",") if size)
    return Batching(row.max_batch_size, row.max_queue_delay_us, preferred)


def _signature_of(text: str) -> Signature:
    stored = json.loads(text)
    return Signature(inputs=_tensors_of(stored["inputs"]), outputs=_tensors_of(stored["outputs"]))


def _tensors_of(stored: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in stored)
