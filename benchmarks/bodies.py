"""What a generator sends: requests of the Open Inference Protocol, framed as gRPC frames them."""

import struct
from pathlib import Path

from benchmarks.models import Model, Tensor
from nnpm.api.inference import inference_pb2

EIGHT_SHAPES = range(1, 9)
"""Rows of the requests of a mixed run."""

MIXED_ID = b"request-00000000"
"""The id in each message of a mixed body; the generator writes the request's number over the zeros."""


def request(model: Model, rows: Tensor, *, served_as: str, request_id: str = "") -> bytes:
    """A serialised ModelInferRequest with raw contents."""
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(
        name=model.input, datatype=model.datatype, shape=rows.shape
    )
    message = inference_pb2.ModelInferRequest(
        model_name=served_as, id=request_id, inputs=[tensor], raw_input_contents=[rows.tobytes()]
    )
    return message.SerializeToString()


def framed(message: bytes) -> bytes:
    """One uncompressed gRPC message: a flag, the length, the bytes."""
    return struct.pack(">BI", 0, len(message)) + message


def body_file(folder: Path, model: Model, *, served_as: str, mixed: bool = False) -> Path:
    """The file of one framed request with one row; or, mixed, of eight with 1 to 8 rows, one after the other."""
    if mixed:
        content = b"".join(
            framed(request(model, model.rows(count, seed=count), served_as=served_as, request_id=MIXED_ID.decode()))
            for count in EIGHT_SHAPES
        )
    else:
        content = framed(request(model, model.rows(1), served_as=served_as))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{served_as}{'-mixed' if mixed else ''}.body"
    path.write_bytes(content)
    return path
