"""An MLServer runtime for ONNX models. Runs in MLServer's own environment."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    """The file that the model's settings name as its uri."""

    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        file = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.output = self.session.get_outputs()[0].name
        return True

    async def predict(self, payload):
        feed = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        answer = self.session.run([self.output], feed)[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(self.output, answer)])
