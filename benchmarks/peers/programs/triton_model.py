"""A model of Triton's Python backend that runs the ONNX file beside it. Runs inside Triton."""

from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as backend


class TritonPythonModel:
    """Joins the requests of a batch, runs once, splits."""

    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        file = Path(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def execute(self, requests):
        inputs = [backend.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        joined = inputs[0] if len(inputs) == 1 else np.concatenate(inputs)
        answers = self.session.run([self.output], {self.input: joined})[0]
        replies, begin = [], 0
        for each in inputs:
            end = begin + len(each)
            replies.append(backend.InferenceResponse([backend.Tensor(self.output, answers[begin:end])]))
            begin = end
        return replies
