"""Talks to a scheduler through kserve's client and stubs; prints what it found as JSON. Run by test_kserve.py.

python kserve_program.py infer|infer-typed ADDRESS MODEL INPUTS.npz OUTPUTS.npz
python kserve_program.py reload ADDRESS MODEL
"""

import asyncio
import json
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub


async def infer(address: str, model: str, inputs: str, outputs: str, *, raw: bool) -> dict[str, Any]:
    """Asks for everything that is to be known, runs the model once, writes what it answers."""
    async with InferenceGRPCClient(address) as client:
        with np.load(inputs) as arrays:
            given = []
            for name, value in arrays.items():
                tensor = InferInput(name=name, shape=list(value.shape), datatype="FP32")
                tensor.set_data_from_numpy(value, binary_data=raw)
                given.append(tensor)
        response = await client.infer(InferRequest(model_name=model, infer_inputs=given))
        np.savez(outputs, **{output.name: output.as_numpy() for output in response.outputs})
        said: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready(model),
            "model_version": response.model_version,
        }
    async with grpc.aio.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        metadata = await stub.ModelMetadata(messages.ModelMetadataRequest(name=model), timeout=10)
        server = await stub.ServerMetadata(messages.ServerMetadataRequest(), timeout=10)
    said["server_name"] = server.name
    said["versions"] = list(metadata.versions)
    said["inputs"] = [[tensor.name, tensor.datatype, list(tensor.shape)] for tensor in metadata.inputs]
    return said


async def reload(address: str, model: str) -> dict[str, Any]:
    """Unloads and loads a model by KServe's messages."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)

        async def ready() -> bool:
            return bool((await stub.ModelReady(messages.ModelReadyRequest(name=model), timeout=10)).ready)

        unloaded = await stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name=model), timeout=30)
        between = await ready()
        loaded = await stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name=model), timeout=30)
        return {
            "unloaded": unloaded.isUnloaded,
            "unloaded_name": unloaded.model_name,
            "ready_between": between,
            "loaded": loaded.isLoaded,
            "loaded_name": loaded.model_name,
            "ready_after": await ready(),
        }


async def main(command: str, *arguments: str) -> None:
    """Run one command and print its findings."""
    if command == "reload":
        found = await reload(*arguments)
    else:
        found = await infer(*arguments, raw=command == "infer")
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
