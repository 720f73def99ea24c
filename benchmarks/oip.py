"""A small client of the Open Inference Protocol over gRPC: what the benchmark asks of servers beside the load."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np

from benchmarks.counts import Counts
from benchmarks.models import Tensor
from nnpm.api.inference import inference_pb2

_SERVICE = "/inference.GRPCInferenceService/"
_LARGEST = 256 * 1024 * 1024
_SECONDS = 30.0
_TYPES: Mapping[str, Any] = {"FP32": np.float32, "INT32": np.int32}
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


class OipClient:
    """Calls with raw bytes: servers differ in fields that are of no interest here."""

    def __init__(self, address: str) -> None:
        options = [("grpc.max_receive_message_length", _LARGEST), ("grpc.max_send_message_length", _LARGEST)]
        self._channel = grpc.insecure_channel(address, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, message: bytes) -> bytes:
        """One unary call; raises grpc.RpcError."""
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(_SERVICE + method)
        return ask(message, timeout=_SECONDS)

    def ready(self, served_as: str) -> bool:
        """Whether the model is there and takes calls."""
        try:
            reply = self.call("ModelReady", inference_pb2.ModelReadyRequest(name=served_as).SerializeToString())
        except grpc.RpcError:
            return False
        return bool(inference_pb2.ModelReadyResponse.FromString(reply).ready)

    def statistics(self, served_as: str) -> Counts:
        """What the server has counted for the model since it started, over all its versions."""
        message = inference_pb2.ModelStatisticsRequest(name=served_as).SerializeToString()
        reply = inference_pb2.ModelStatisticsResponse.FromString(self.call("ModelStatistics", message))
        stats = [each.inference_stats for each in reply.model_stats]
        return Counts(
            successes=sum(each.success.count for each in stats),
            total_ns=sum(each.success.ns for each in stats),
            parts_ns={part: sum(getattr(each, part).ns for each in stats) for part in PARTS},
        )

    def infer(self, message: bytes, output: str) -> Tensor:
        """The named output of one call."""
        reply = inference_pb2.ModelInferResponse.FromString(self.call("ModelInfer", message))
        names = [tensor.name for tensor in reply.outputs]
        tensor = reply.outputs[names.index(output)]
        if reply.raw_output_contents:
            flat = np.frombuffer(reply.raw_output_contents[names.index(output)], _TYPES[tensor.datatype])
        else:
            flat = np.array(tensor.contents.fp32_contents, np.float32)
        return flat.reshape(tuple(tensor.shape))


def wait_for_model(client: OipClient, served_as: str, seconds: float = 60.0) -> bool:
    """Whether the model becomes ready in time."""
    until = time.monotonic() + seconds
    while not client.ready(served_as):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
