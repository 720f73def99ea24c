"""protos/inference is on the wire what Triton's clients speak, field by field."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from tritonclient.grpc import model_config_pb2 as triton_config
from tritonclient.grpc import service_pb2 as triton

from nnpm.api.inference import inference_pb2, model_config_pb2

KSERVE_ONLY = {"RepositoryModelLoadResponse", "RepositoryModelUnloadResponse"}
"""Triton has no field in these; KServe has `model_name = 1, isLoaded / isUnloaded = 2`."""

OURS = {inference_pb2.DESCRIPTOR: triton.DESCRIPTOR, model_config_pb2.DESCRIPTOR: triton_config.DESCRIPTOR}


def _messages(file: FileDescriptor) -> Iterator[Descriptor]:
    for message in file.message_types_by_name.values():
        yield message
        yield from (nested for nested in message.nested_types if not nested.GetOptions().map_entry)


def _shape(field: FieldDescriptor) -> tuple[object, ...]:
    message = field.message_type
    return (
        field.name,
        field.type,
        field.is_repeated,
        field.containing_oneof.name if field.containing_oneof else "",
        message.full_name if message and not message.GetOptions().map_entry else "",
        tuple(_shape(part) for part in message.fields) if message and message.GetOptions().map_entry else (),
    )


CASES = [(ours, theirs) for file, theirs in OURS.items() for ours in _messages(file)]


@pytest.mark.parametrize(("ours", "theirs"), CASES, ids=[ours.full_name for ours, _ in CASES])
def test_every_field_has_tritons_name_number_and_type(ours: Descriptor, theirs: FileDescriptor) -> None:
    if ours.name in KSERVE_ONLY:
        assert next((field.name, field.number) for field in ours.fields) == ("model_name", 1)
        return
    counterpart = {message.full_name: message for message in _messages(theirs)}[ours.full_name]
    wanted = {number: _shape(field) for number, field in counterpart.fields_by_number.items()}
    assert {number: _shape(field) for number, field in ours.fields_by_number.items()}.items() <= wanted.items()


@pytest.mark.parametrize("name", ["ModelInferRequest", "ModelInferResponse", "InferTensorContents", "InferParameter"])
def test_the_data_path_lacks_no_field(name: str) -> None:
    ours = inference_pb2.DESCRIPTOR.message_types_by_name[name]
    theirs = triton.DESCRIPTOR.message_types_by_name[name]
    assert set(ours.fields_by_number) == set(theirs.fields_by_number)


def test_every_rpc_has_tritons_request_and_response() -> None:
    def methods(file: FileDescriptor) -> dict[str, tuple[object, ...]]:
        return {
            method.name: (
                method.input_type.full_name,
                method.output_type.full_name,
                method.client_streaming,
                method.server_streaming,
            )
            for method in file.services_by_name["GRPCInferenceService"].methods
        }

    assert methods(inference_pb2.DESCRIPTOR).items() <= methods(triton.DESCRIPTOR).items()
