"""What a manifest declares of its model, held against what the graph says."""

from collections import Counter
from collections.abc import Mapping, Sequence

from nnpm.package.entry import RUNTIME as PYTHON
from nnpm.package.entry import Entry
from nnpm.package.manifest import Manifest, TensorDeclaration
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_registry.records import Rejection, Report

_HINT = "correct nnpm.toml, or leave the declaration out: the graph says it all"


def has_graph(manifest: Manifest) -> bool:
    """Whether the package's model is an ONNX graph that the registry can read."""
    return manifest.runtime == "onnx" or (manifest.framework == "onnx" and manifest.runtime != PYTHON)


def declared_report(manifest: Manifest) -> Report:
    """The report on a model whose files the registry cannot read: its signature is what the manifest declares."""
    rejections = [
        Rejection(
            "SIGNATURE_MISSING",
            f"{role} {tensor.name!r} is declared without datatype or shape",
            f"the registry cannot read models of runtime {manifest.runtime!r}: declare each tensor in full",
        )
        for role, tensors in (("input", manifest.inputs), ("output", manifest.outputs))
        for tensor in tensors
        if tensor.datatype is None or tensor.shape is None
    ]
    if not manifest.outputs:
        rejections.append(
            Rejection(
                "SIGNATURE_MISSING",
                "the manifest declares no outputs",
                f"the registry cannot read models of runtime {manifest.runtime!r}: declare inputs and outputs",
            )
        )
    unique = "give each tensor a name of its own"
    rejections += [Rejection("SIGNATURE_MISMATCH", fault, unique) for fault in _twice(manifest)]
    rejections += _entry_faults(manifest)
    if rejections:
        return Report(rejections=tuple(rejections))
    signature = Signature(tuple(map(_spec, manifest.inputs)), tuple(map(_spec, manifest.outputs)))
    return Report(signature, rejections=tuple(check_declarations(manifest, signature)))


def _twice(manifest: Manifest) -> list[str]:
    """Names that stand for two tensors. (A graph's are its own; the checker has looked at those.)"""
    return [
        f"{role} {name!r} is declared {count} times"
        for role, tensors in (("input", manifest.inputs), ("output", manifest.outputs))
        for name, count in Counter(tensor.name for tensor in tensors).items()
        if count > 1
    ]


def _entry_faults(manifest: Manifest) -> list[Rejection]:
    """What is wrong with the class that the runtime `python` is to make a model of; it is not imported here."""
    if manifest.runtime != PYTHON:
        return []
    hint = 'entry = "module:Class" in nnpm.toml names a class in a file of the package'
    if manifest.entry is None:
        return [Rejection("INVALID_ENTRY", "runtime 'python' needs `entry`, and the manifest has none", hint)]
    files = Entry.parse(manifest.entry).files
    if not any(manifest.file(path) for path in files):
        return [Rejection("INVALID_ENTRY", f"entry is {manifest.entry!r}, but the package has no {files[0]!r}", hint)]
    if manifest.model not in files:
        return [Rejection("INVALID_ENTRY", f"model is {manifest.model!r}; the entry is {manifest.entry!r}", hint)]
    return []


def check_declarations(manifest: Manifest, signature: Signature) -> list[Rejection]:
    """Where inputs, outputs, warm-up or batch axis of the manifest contradict the signature."""
    inputs = {spec.name: spec for spec in signature.inputs}
    outputs = {spec.name: spec for spec in signature.outputs}
    faults = [
        *_faults("input", manifest.inputs, inputs),
        *_faults("output", manifest.outputs, outputs),
        *_warmup_faults(manifest, inputs),
    ]
    if manifest.batch_axis == 0:
        faults += [
            f"batch_axis is 0, but the first axis of {spec.name!r} has the fixed size {spec.shape[0]}"
            if spec.shape
            else f"batch_axis is 0, but {spec.name!r} is a scalar"
            for spec in signature.inputs
            if not spec.unranked and (not spec.shape or spec.shape[0] >= 0)
        ]
    return [Rejection("SIGNATURE_MISMATCH", fault, _HINT) for fault in faults]


def _faults(role: str, declared: Sequence[TensorDeclaration], specs: Mapping[str, TensorSpec]) -> list[str]:
    faults = []
    for tensor in declared:
        spec = specs.get(tensor.name)
        if spec is None:
            faults.append(f"{role} {tensor.name!r} is declared, but the model has {_names(specs)}")
        elif tensor.datatype not in (None, spec.datatype):
            faults.append(f"{role} {tensor.name!r} is declared {tensor.datatype}, but is {spec.datatype}")
        elif tensor.shape is not None and not _fits(tensor.shape, spec):
            faults.append(f"{role} {tensor.name!r} is declared {list(tensor.shape)}, but is {list(spec.shape)}")
    return faults


def _warmup_faults(manifest: Manifest, inputs: Mapping[str, TensorSpec]) -> list[str]:
    faults = []
    for sample in manifest.warmup:
        for name, shape in (sample.shapes or {}).items():
            if name not in inputs:
                faults.append(f"warmup names input {name!r}, but the model has {_names(inputs)}")
            elif not _fits(shape, inputs[name]):
                faults.append(f"warmup gives {name!r} the shape {list(shape)}, but it is {list(inputs[name].shape)}")
    return faults


def _fits(declared: Sequence[int], spec: TensorSpec) -> bool:
    """Whether a declared shape is the model's, or a part of what the model leaves free."""
    if spec.unranked:
        return True
    return len(declared) == len(spec.shape) and all(
        actual in (-1, stated) for stated, actual in zip(declared, spec.shape, strict=True)
    )


def _spec(declaration: TensorDeclaration) -> TensorSpec:
    return TensorSpec(declaration.name, str(declaration.datatype), tuple(declaration.shape or ()))


def _names(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(map(repr, sorted(specs)[:20])) or "none"
