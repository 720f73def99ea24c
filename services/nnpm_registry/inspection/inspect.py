"""The inspection itself, step by step: what each finds ends it, because the next would stand on it."""

from collections.abc import Mapping

import onnx
from google.protobuf.message import DecodeError

from nnpm.errors import InvalidArgument, NnpmError
from nnpm_registry.inspection.checks import check_small_constants, check_with_onnx, check_with_runtime
from nnpm_registry.inspection.external import check_external_data
from nnpm_registry.inspection.pieces import PiecedFile
from nnpm_registry.inspection.signature import infer_shapes, read_facts, read_signature
from nnpm_registry.inspection.skeleton import Skeleton, read_skeleton
from nnpm_registry.inspection.weightless import without_weights
from nnpm_registry.records import Rejection, Report

_MAX_PROTOBUF = (1 << 31) - 1

MEMORY = Rejection(
    "INSPECTION_LIMIT",
    "the inspection of the graph needs more memory than it is given",
    "simplify the graph, or raise registry_inspection_memory_bytes",
)


def inspect(file: PiecedFile, path: str, files: Mapping[str, int]) -> Report:
    """Inspects the model at `path` of a package whose files have these sizes, in bytes."""
    try:
        return _inspect(file, path, files)
    except NnpmError as error:
        return Report(rejections=(Rejection(error.reason, error.message, error.hint),))
    except MemoryError:
        return Report(rejections=(MEMORY,))


def _inspect(file: PiecedFile, path: str, files: Mapping[str, int]) -> Report:
    if files[path] > _MAX_PROTOBUF:
        raise InvalidArgument(
            "GRAPH_TOO_LARGE",
            f"the model's file has {files[path]} bytes; a protobuf message ends at 2 GiB",
            hint="export it with external data: onnx.save_model(model, path, save_as_external_data=True)",
        )
    skeleton = read_skeleton(file, files[path])
    model = _parse(skeleton)
    if faults := check_external_data(model, path, files, skeleton.hole):
        return Report(rejections=tuple(faults))
    weightless = without_weights(model)
    encoded = weightless.SerializeToString()
    signature, faults = read_signature(model, weightless)
    fault = check_small_constants(model) or check_with_onnx(encoded) or check_with_runtime(encoded)
    if fault is not None:
        return Report(rejections=(fault, *faults))
    if faults:
        return Report(rejections=tuple(faults))
    signature, _ = read_signature(model, infer_shapes(weightless))
    return Report(signature, read_facts(model))


def _parse(skeleton: Skeleton) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto.FromString(skeleton.content)
    except DecodeError as error:
        raise InvalidArgument(
            "INVALID_MODEL_FILE",
            "the model's file is no ONNX model: its bytes are not the protobuf of one",
            hint="export it again",
        ) from error
    if not model.HasField("graph"):
        raise InvalidArgument(
            "INVALID_MODEL_FILE", "the model's file is no ONNX model: it holds no graph", hint="export it again"
        )
    return model
