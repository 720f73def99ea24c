"""A Mosec server of ONNX models, raw tensors in and out: one route a model. Runs in Mosec's own environment.

BENCH_MODELS is a JSON object by name: file, input, output, row, datatype, copies. Mosec itself reads MOSEC_*.
"""

import json
import os

import numpy as np
import onnxruntime
from mosec import Runtime, Server, Worker

MAX_BATCH, WAIT_MS = 64, 1
TYPES = {"FP32": np.float32, "INT32": np.int32}


class Onnx(Worker):
    """The model that BENCH_MODEL names."""

    def __init__(self):
        self.model = json.loads(os.environ["BENCH_MODELS"])[os.environ["BENCH_MODEL"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.model["file"], options, providers=["CPUExecutionProvider"])

    def deserialize(self, data):
        return np.frombuffer(data, TYPES[self.model["datatype"]]).reshape(-1, *self.model["row"])

    def serialize(self, data):
        return data.tobytes()

    def forward(self, data):
        joined = data[0] if len(data) == 1 else np.concatenate(data)
        answers = self.session.run([self.model["output"]], {self.model["input"]: joined})[0]
        ends = np.cumsum([len(each) for each in data])
        return [answers[end - len(each) : end] for each, end in zip(data, ends, strict=True)]


if __name__ == "__main__":
    server = Server()
    server.register_runtime(
        {
            f"/{name}": [
                Runtime(
                    Onnx,
                    num=model["copies"],
                    max_batch_size=MAX_BATCH,
                    max_wait_time=WAIT_MS,
                    timeout=30,
                    env=[{"BENCH_MODEL": name}] * model["copies"],
                )
            ]
            for name, model in json.loads(os.environ["BENCH_MODELS"]).items()
        }
    )
    server.run()
