"""A node test through the mesh: published, deployed, inferred, and held against ONNX Runtime in this process."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import nnpm
from nnpm.errors import FailedPrecondition, Internal, InvalidArgument, NnpmError
from support import models
from support.node_cases import Expectation, NodeCase, expectation
from support.reference import differences


def check(client: nnpm.Client, case: NodeCase, folder: Path) -> list[str]:
    """One line for each way in which the mesh does not do with `case` what ONNX Runtime does."""
    expected = expectation(case)
    package = f"nodes/{_segment(case.name)}"
    try:
        client.publish(models.save(case.model, folder), name=package, version="1.0.0", license="Apache-2.0")
        deployment = client.deploy(package, wait=True, timeout=60)
    except (InvalidArgument, FailedPrecondition) as refusal:
        return [] if not expected.loads else [f"refused to load: {refusal.reason} {refusal}"]
    try:
        if not expected.loads:
            return [f"was loaded, but ONNX Runtime refuses it: {expected.refusal[:200]}"]
        return _inferred(client, deployment.name, case, expected)
    finally:
        client.undeploy(deployment.name)


def _inferred(client: nnpm.Client, model: str, case: NodeCase, expected: Expectation) -> list[str]:
    try:
        outputs = client.infer(model, case.inputs, timeout=30).outputs
    except NnpmError as refusal:
        if expected.outputs is None and isinstance(refusal, (InvalidArgument, Internal)):
            return []
        return [f"refused to run: {refusal.code} {refusal.reason} {refusal}"]
    if expected.outputs is None:
        return [f"answered, but ONNX Runtime refuses the inputs: {expected.refusal[:200]}"]
    if expected.repeatable:
        return differences(expected.outputs, outputs)
    return differences(_blank(expected.outputs), _blank(outputs))


def _blank(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same names, dtypes and shapes, with the elements left out."""
    return {name: np.zeros_like(array) for name, array in arrays.items()}


def _segment(name: str) -> str:
    """A segment of a package name, one a case."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{slug[:50].strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
