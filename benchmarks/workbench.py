"""What every contestant is given: where files go, the models, and the reference that answers are compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from benchmarks.models import Model, Tensor


@dataclass(frozen=True, slots=True)
class Workbench:
    """Folders and models of one run. `scratch` goes away with it, `model_files` stays.

    Attributes:
        environment: gives the Python of an environment of that name that holds these packages.
        load_program: gives our own generator, built.
    """

    scratch: Path
    model_files: Path
    models: Mapping[str, Model]
    environment: Callable[[str, Sequence[str]], Path]
    load_program: Callable[[], Path]

    @property
    def onnx_packages(self) -> tuple[str, ...]:
        """ONNX Runtime just as it is in this environment, for a peer's own."""
        return (f"onnxruntime=={onnxruntime.__version__}", "numpy")

    def file(self, model: Model) -> Path:
        """The model's ONNX file."""
        return model.file(self.model_files)

    def folder(self, name: str) -> Path:
        """An empty folder of that name for a contestant's own files."""
        path = self.scratch / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def reference(self, model: Model, rows: Tensor) -> Tensor:
        """What in-process ONNX Runtime answers."""
        session = session_of(self.file(model))
        answer: Tensor = session.run([model.output], {model.input: rows})[0]
        return answer


def session_of(file: Path) -> onnxruntime.InferenceSession:
    """A session as every contestant has it: on the CPU, one thread a run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
