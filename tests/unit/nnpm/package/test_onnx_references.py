import random
from pathlib import Path

import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from nnpm.errors import InvalidArgument
from nnpm.package.onnx_references import ExternalTensor, external_tensors


def external(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_locations_offsets_and_lengths_are_those_of_the_tensors(external_model: Path) -> None:
    assert list(external_tensors(external_model)) == [
        ExternalTensor("w", "weights.bin", 0, 64 * 64 * 4),
        ExternalTensor("b", "weights.bin", 64 * 64 * 4, 64 * 64 * 4),
    ]


def test_tensors_are_found_wherever_a_model_can_hold_them(tmp_path: Path) -> None:
    inner = helper.make_graph([], "inner", [], [], [external("in a subgraph", "1")])
    sparse = onnx.SparseTensorProto(values=external("sparse values", "2"), indices=external("sparse indices", "3"))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner)
    node.attribute.append(helper.make_attribute("t", external("in an attribute", "4")))
    node.attribute.add(name="many", type=onnx.AttributeProto.TENSORS, tensors=[external("in a list", "5")])
    node.attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse)
    model = helper.make_model(helper.make_graph([node], "g", [], [], [external("initialiser", "6")]))
    model.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=external("sparse initialiser", "7"), indices=TensorProto())
    )
    constant = helper.make_node("Constant", [], ["k"], value=external("in a function", "8"))
    model.functions.append(helper.make_function("d", "f", [], ["k"], [constant], []))
    model.training_info.add().algorithm.CopyFrom(helper.make_graph([], "t", [], [], [external("in training", "9")]))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert sorted(tensor.location for tensor in external_tensors(path)) == list("123456789")


def test_weights_inside_the_model_are_skipped_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    size = 1 << 30
    tensor = b"\x4a" + _varint(size)  # raw_data = 9, of a GiB
    initialiser = b"\x2a" + _varint(len(tensor) + size) + tensor
    graph = b"\x3a" + _varint(len(initialiser) + size) + initialiser
    with path.open("wb") as file:
        file.write(graph)
        file.truncate(len(graph) + size)
    read_before = psutil.Process().io_counters().read_chars
    assert list(external_tensors(path)) == []
    assert psutil.Process().io_counters().read_chars - read_before < 16 << 20


def test_cut_off_or_random_bytes_are_refused_and_never_crash(external_model: Path, tmp_path: Path) -> None:
    content = external_model.read_bytes()
    path = tmp_path / "bad.onnx"
    refused = 0
    draw = random.Random(3)
    bent = [content[:length] for length in range(1, len(content), 7)]
    bent += [draw.randbytes(200) for _ in range(200)]
    for number in range(200):
        copy = bytearray(content)
        copy[draw.randrange(len(copy))] ^= 1 << number % 8
        bent.append(bytes(copy))
    for candidate in bent:
        path.write_bytes(candidate)
        try:
            list(external_tensors(path))
        except InvalidArgument:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-1"), ("length", "1e3"), ("offset", "9" * 30), ("location", "")]
)
def test_nonsense_in_external_data_is_refused(external_model: Path, key: str, value: str) -> None:
    model = onnx.load(external_model, load_external_data=False)
    model.graph.initializer[0].external_data.add(key=key, value=value)
    external_model.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidArgument):
        list(external_tensors(external_model))


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(300):
        attribute = b"\x32" + _varint(len(graph)) + graph
        node = b"\x2a" + _varint(len(attribute)) + attribute
        graph = b"\x0a" + _varint(len(node)) + node
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x3a" + _varint(len(graph)) + graph)
    with pytest.raises(InvalidArgument, match="nested too deep"):
        list(external_tensors(path))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
