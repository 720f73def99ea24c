"""ONNX's own backend node tests as cases for the mesh, and what ONNX Runtime in this process makes of them."""

import random
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from support.reference import Reference, as_bytes

CARRIED = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}
"""ONNX element types that the Open Inference Protocol can carry, and what it calls them."""


@dataclass(frozen=True, slots=True)
class NodeCase:
    """One node test: its model, the inputs of its first data set by name (strings as object arrays of bytes)."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]
    operators: frozenset[str]
    datatypes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What ONNX Runtime in this process does with a case."""

    loads: bool
    """False: it refuses the model."""
    outputs: dict[str, np.ndarray] | None
    """None: it refuses the model or its inputs."""
    repeatable: bool
    """False: two runs differ (random operators), so that only names, dtypes and shapes can be compared."""
    refusal: str = ""


def expectation(case: NodeCase) -> Expectation:
    """Load and run a case in this process."""
    try:
        session = Reference(case.model.SerializeToString())
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common base
        return Expectation(loads=False, outputs=None, repeatable=True, refusal=str(error))
    try:
        first, second = session.run(case.inputs), session.run(case.inputs)
    except Exception as error:  # noqa: BLE001 - as above
        return Expectation(loads=True, outputs=None, repeatable=True, refusal=str(error))
    same = all(_bits(first[name]) == _bits(second[name]) for name in first)
    return Expectation(loads=True, outputs=first, repeatable=same)


@cache
def all_cases() -> tuple[NodeCase, ...]:
    """Every node test whose inputs and outputs are all tensors that the protocol can carry, by name."""
    return tuple(sorted(_carried(), key=lambda case: case.name))


def draw(count: int, seed: int) -> list[NodeCase]:
    """`count` cases: first every datatype once or more, then one operator after the other in random order."""
    source = random.Random(seed)
    cases = list(all_cases())
    source.shuffle(cases)
    drawn: dict[str, NodeCase] = {}
    for datatype in sorted(CARRIED.values()):
        having = [case for case in cases if datatype in case.datatypes]
        drawn.update((case.name, case) for case in having[:2])
    by_operator: dict[str, list[NodeCase]] = defaultdict(list)
    for case in cases:
        by_operator["+".join(sorted(case.operators))].append(case)
    seen = {"+".join(sorted(case.operators)) for case in drawn.values()}
    unseen = [operator for operator in by_operator if operator not in seen]
    for case in _round_robin([by_operator[operator] for operator in [*unseen, *sorted(seen)]]):
        if len(drawn) >= count:
            break
        drawn.setdefault(case.name, case)
    return sorted(drawn.values(), key=lambda case: case.name)


def _round_robin(lists: Sequence[Sequence[NodeCase]]) -> Iterator[NodeCase]:
    for turn in range(max(map(len, lists))):
        for cases in lists:
            if turn < len(cases):
                yield cases[turn]


def _carried() -> Iterator[NodeCase]:
    with warnings.catch_warnings(action="ignore"):  # onnx computes infinities on purpose
        tests = load_model_tests(kind="node")
    for test in tests:
        graph = test.model.graph
        types = [value.type for value in (*graph.input, *graph.output)]
        if all(kind.HasField("tensor_type") and kind.tensor_type.elem_type in CARRIED for kind in types):
            values = test.data_sets[0][0]
            yield NodeCase(
                name=test.name.removeprefix("test_"),
                model=test.model,
                inputs={given.name: _array(value) for given, value in zip(graph.input, values, strict=False)},
                operators=frozenset(node.op_type for node in graph.node),
                datatypes=frozenset(CARRIED[kind.tensor_type.elem_type] for kind in types),
            )


def _array(value: object) -> np.ndarray:
    return as_bytes(numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value))


def _bits(array: np.ndarray) -> object:
    return array.tolist() if array.dtype == object else array.tobytes()
