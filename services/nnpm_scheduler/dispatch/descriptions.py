"""What the inference protocol says about a model: metadata, Triton's configuration, statistics, the index."""

from collections.abc import Sequence

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.inference import model_config_pb2 as config_pb
from nnpm.tensors.signature import TensorSpec
from nnpm_scheduler.dispatch.routes import DeploymentRoute, RevisionRoute
from nnpm_scheduler.dispatch.statistics import RevisionStatistics, Total

READY, LOADING, UNAVAILABLE = "READY", "LOADING", "UNAVAILABLE"

_PLATFORMS = {"onnx": "onnxruntime_onnx"}
_BACKENDS = {"onnx": "onnxruntime"}


def metadata(asked: str, deployment: DeploymentRoute, route: RevisionRoute) -> pb.ModelMetadataResponse:
    """`asked` is what the client called the model."""
    return pb.ModelMetadataResponse(
        name=asked,
        versions=sorted({revision.version for revision in deployment.revisions if revision.serves}),
        platform=_PLATFORMS.get(route.runtime, route.runtime),
        inputs=_tensors(route.signature.inputs),
        outputs=_tensors(route.signature.outputs),
    )


def config(asked: str, route: RevisionRoute) -> config_pb.ModelConfig:
    """As Triton would configure it: where requests are joined, shapes go without the batch axis."""
    signature = route.signature
    tensors = (*signature.inputs, *signature.outputs)
    joined = route.batch > 1 and all(tensor.shape[:1] == (-1,) for tensor in tensors)
    skip = 1 if joined else 0
    described = config_pb.ModelConfig(
        name=asked,
        platform=_PLATFORMS.get(route.runtime, route.runtime),
        backend=_BACKENDS.get(route.runtime, route.runtime),
        runtime=route.runtime,
        max_batch_size=route.batch if joined else 0,
        input=[
            config_pb.ModelInput(
                name=tensor.name, data_type=_data_type(tensor), dims=tensor.shape[skip:], optional=tensor.optional
            )
            for tensor in signature.inputs
        ],
        output=[
            config_pb.ModelOutput(name=tensor.name, data_type=_data_type(tensor), dims=tensor.shape[skip:])
            for tensor in signature.outputs
        ],
        instance_group=[config_pb.ModelInstanceGroup(name=route.id, count=route.ready)],
    )
    if joined:
        described.dynamic_batching.SetInParent()
    return described


def index(deployment: DeploymentRoute) -> list[pb.RepositoryIndexResponse.ModelIndex]:
    """One line a version; a deployment that has none loaded is listed all the same."""
    lines = [
        pb.RepositoryIndexResponse.ModelIndex(
            name=deployment.name,
            version=revision.version,
            state=READY if revision.serves and not deployment.paused else LOADING,
            reason="" if revision.serves else "no warm replica yet",
        )
        for revision in deployment.revisions
        if not revision.draining
    ]
    if deployment.paused or not lines:
        reason = "paused" if deployment.paused else "nothing is loaded"
        return [pb.RepositoryIndexResponse.ModelIndex(name=deployment.name, state=UNAVAILABLE, reason=reason)]
    return lines


def statistics(name: str, version: str, totals: RevisionStatistics) -> pb.ModelStatistics:
    """One version's totals."""
    return pb.ModelStatistics(
        name=name,
        version=version,
        last_inference=totals.last_ms,
        inference_count=totals.inferences,
        execution_count=totals.executions,
        inference_stats=pb.InferStatistics(
            success=_total(totals.success),
            fail=_total(totals.fail),
            queue=_total(totals.queue),
            compute_input=_total(totals.compute_input),
            compute_infer=_total(totals.compute_infer),
            compute_output=_total(totals.compute_output),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=_total(batch.compute_input),
                compute_infer=_total(batch.compute_infer),
                compute_output=_total(batch.compute_output),
            )
            for rows, batch in sorted(totals.batches.items())
        ],
    )


def _tensors(specs: Sequence[TensorSpec]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        for spec in specs
    ]


def _data_type(spec: TensorSpec) -> config_pb.DataType.ValueType:
    name = "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
    known = config_pb.DataType.keys()
    return config_pb.DataType.Value(name if name in known else "TYPE_INVALID")


def _total(total: Total) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=total.count, ns=total.ns)
