"""Requests of the model under chaos, and what the right answer to each is."""

import hashlib
from dataclasses import dataclass
from random import Random

import numpy as np

from chaos.runtime.nnpm_chaos_runtime import LETHAL, MARK, WIDTH, answer
from nnpm.api.inference import inference_pb2 as pb

MODEL, QUICK, NEVER = "chaos", "chaos-quick", "chaos-never"
"""Deployments: of the runtime that works, of the one whose runs are all short, of the one that never loads a model."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its tensor's bytes, and the digest of the right answer's."""

    number: int
    rows: int
    raw: bytes
    expected: str

    def message(self, model: str = MODEL) -> pb.ModelInferRequest:
        """As it is sent."""
        tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[self.rows, WIDTH])
        return pb.ModelInferRequest(
            model_name=model, id=str(self.number), inputs=[tensor], raw_input_contents=[self.raw]
        )


def make(dice: Random, number: int, *, rows: int = 1, milliseconds: int = 0, lethal: bool = False) -> Request:
    """A request with a random payload, that takes the model so long."""
    x = np.empty((rows, WIDTH), np.int64)
    x[:, 0], x[:, 1], x[:, 2] = number, LETHAL if lethal else MARK, milliseconds
    x[:, 3] = np.frombuffer(dice.randbytes(8 * rows), np.int64)
    return Request(number, rows, x.tobytes(), digest(answer(x).tobytes()))


def digest(raw: bytes) -> str:
    """Of a tensor's bytes."""
    return hashlib.sha256(raw).hexdigest()[:32]


def digest_of(number: int, response: pb.ModelInferResponse) -> str:
    """Of an answer's tensors; another one if the answer says that it is another call's."""
    raw = b"".join(response.raw_output_contents)
    return digest(raw) if response.id == str(number) else f"of call {response.id}"
