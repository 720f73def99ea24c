"""What a model is said to be."""

from dataclasses import replace

import pytest

from nnpm.api.inference import model_config_pb2 as config_pb
from nnpm.tensors.elements import ELEMENTS
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.dispatch import descriptions
from nnpm_scheduler.dispatch.routes import DeploymentRoute, RevisionRoute

ROUTE = RevisionRoute(
    id="acme-tiny.1",
    number=1,
    version="1.0.0",
    digest="sha256:0",
    signature=Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 3)), TensorSpec("s", "BYTES", (-1,), optional=True)),
        outputs=(TensorSpec("y", "INT64", (-1, 2)),),
    ),
    ready=2,
)


def test_metadata_lists_the_versions_that_serve() -> None:
    older = replace(ROUTE, id="acme-tiny.0", version="0.9.0", draining=True)
    told = descriptions.metadata("acme/tiny", DeploymentRoute("acme-tiny", "acme/tiny", (older, ROUTE)), ROUTE)
    assert (told.name, list(told.versions), told.platform) == ("acme/tiny", ["1.0.0"], "onnxruntime_onnx")
    assert [(t.name, t.datatype, list(t.shape)) for t in told.inputs] == [("x", "FP32", [-1, 3]), ("s", "BYTES", [-1])]
    assert [(t.name, t.datatype, list(t.shape)) for t in told.outputs] == [("y", "INT64", [-1, 2])]


def test_config_gives_whole_shapes_where_nothing_is_joined() -> None:
    told = descriptions.config("m", ROUTE)
    assert (told.max_batch_size, list(told.input[0].dims)) == (0, [-1, 3])
    assert told.input[1].data_type == config_pb.TYPE_STRING
    assert (told.input[1].optional, told.backend) == (True, "onnxruntime")
    assert (told.instance_group[0].count, told.HasField("dynamic_batching")) == (2, False)


def test_config_leaves_the_batch_axis_out_where_requests_are_joined() -> None:
    told = descriptions.config("m", replace(ROUTE, batch=32))
    assert (told.max_batch_size, [list(i.dims) for i in told.input], list(told.output[0].dims)) == (32, [[3], []], [2])
    assert told.HasField("dynamic_batching")


@pytest.mark.parametrize("datatype", sorted(set(ELEMENTS) - {"BYTES"}))
def test_every_datatype_has_tritons_number(datatype: str) -> None:
    signature = Signature((TensorSpec("x", datatype, (1,)),), ())
    told = descriptions.config("m", replace(ROUTE, signature=signature))
    assert config_pb.DataType.Name(told.input[0].data_type) == f"TYPE_{datatype}"


def test_a_runtime_of_another_kind_is_named_as_it_is() -> None:
    told = descriptions.config("m", replace(ROUTE, runtime="sleep"))
    assert (told.platform, told.backend) == ("sleep", "sleep")


@pytest.mark.parametrize(
    ("deployment", "lines"),
    [
        (DeploymentRoute("d", "a/b", (ROUTE,)), [("1.0.0", "READY", "")]),
        (DeploymentRoute("d", "a/b", (replace(ROUTE, ready=0),)), [("1.0.0", "LOADING", "no warm replica yet")]),
        (DeploymentRoute("d", "a/b", (ROUTE,), paused=True), [("", "UNAVAILABLE", "paused")]),
        (DeploymentRoute("d", "a/b", ()), [("", "UNAVAILABLE", "nothing is loaded")]),
        (DeploymentRoute("d", "a/b", (replace(ROUTE, draining=True),)), [("", "UNAVAILABLE", "nothing is loaded")]),
    ],
)
def test_the_index_says_what_is_ready_and_why_not(
    deployment: DeploymentRoute, lines: list[tuple[str, str, str]]
) -> None:
    assert [(line.version, line.state, line.reason) for line in descriptions.index(deployment)] == lines
