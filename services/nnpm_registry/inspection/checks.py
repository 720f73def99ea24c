"""What ONNX's checker and the ONNX Runtime that the workers run say of a model without weights.

The checker judges the model's form, and shape inference its types and shapes. Which IR version, operator sets and
operators can run is ONNX Runtime's to say: it is made to build a session, with nothing optimised and nothing run.
Where the checker is narrower than the runtime (an operator that only ONNX Runtime defines, an input of no stated rank),
or its inference cannot follow the definition of one of ONNX's own operators, ONNX Runtime decides alone.
"""

import re

import onnx
import onnx.checker
import onnx.shape_inference

from nnpm_registry.records import Rejection

_UNKNOWN_TO_ONNX = re.compile(r"No Op registered for (\S+) with domain_version of")
_UNRANKED = "Field 'shape' of 'type' is required but missing"
# Errors of inference inside the body of an operator that is defined by other operators carry the prefix twice.
_INSIDE_A_BODY = re.compile(r"Inference error\(s\).*Inference error\(s\)", re.DOTALL)
_IR_VERSION = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_OPSET = re.compile(r"Opset (\d+) is under development")
_OFFICIAL_OPSET = re.compile(r"Current official support for domain (\S+) is till opset (\d+)")
_NEEDED_INSIDE = re.compile(r"Cannot parse data from external tensors.*?raw data for tensor: (\S*)")
_NO_KERNEL = re.compile(r"(?:Could not find an implementation|Failed to find kernel) for (\S+?)\((\d+)\)")
_NOT_REGISTERED = re.compile(r"Fatal error: (\S+?):([^\s:(]+)\(-?\d+\) is not a registered function/op")
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .*? failed:)?")
_SOURCE = re.compile(r"/\S+\.(?:cc|h):\d+ (?:[^\s].*?\) )?|\S+\.(?:cc|h):\d+ \w+ ")
_SILENT = 4
_MAX_TEXT = 2000


def check_small_constants(model: onnx.ModelProto) -> Rejection | None:
    """Whether a tensor that decides shapes, such as Reshape's, has its elements outside the graph.

    ONNX Runtime infers shapes before it reads external data, and refuses such a model; so does ONNX's inference, the
    same code, which opens no file either. Measured: ONNX's node tests with their constants made external, 1,167 models;
    for five of them, where the value is needed inside the definition of an operator, ONNX Runtime alone would refuse.
    """
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        if (found := _NEEDED_INSIDE.search(str(error))) is not None:
            return Rejection(
                "EXTERNAL_DATA_INVALID",
                f"tensor {found[1][:200]!r} decides shapes, so that ONNX Runtime needs its elements inside the graph",
                "save small tensors inside: onnx.save_model(..., save_as_external_data=True, size_threshold=1024)",
            )
    return None


def check_with_onnx(encoded: bytes) -> Rejection | None:
    """What ONNX's checker, shape inference included, has against the model."""
    try:
        onnx.checker.check_model(encoded, full_check=True)
    except onnx.checker.ValidationError as error:
        narrow = _UNKNOWN_TO_ONNX.search(str(error)) or _UNRANKED in str(error)
        return None if narrow else _checker_says(error)
    except onnx.shape_inference.InferenceError as error:
        return None if _INSIDE_A_BODY.search(str(error)) else _checker_says(error)
    except RuntimeError as error:
        return _checker_says(error)
    return None


def check_with_runtime(encoded: bytes) -> Rejection | None:
    """What ONNX Runtime has against the model; None too where ONNX Runtime is not installed."""
    try:
        import onnxruntime as ort  # noqa: PLC0415 -- takes memory and time that only this process should pay
    except ImportError:
        return None
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    ort.set_default_logger_severity(_SILENT)
    try:
        ort.InferenceSession(encoded, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:
        if "bad_alloc" in str(error):
            raise MemoryError from error
        return _runtime_says(str(error), ort.__version__)
    return None


def _checker_says(error: Exception) -> Rejection:
    return Rejection(
        "MODEL_CHECK_FAILED",
        f"ONNX's checker refuses the model: {_line(str(error))}",
        "python -c 'import onnx; onnx.checker.check_model(PATH, full_check=True)' says the same",
    )


def _runtime_says(text: str, version: str) -> Rejection:
    runtime = f"ONNX Runtime {version}, which the workers run,"
    if match := _IR_VERSION.search(text):
        return Rejection(
            "UNSUPPORTED_IR_VERSION",
            f"the model has ONNX IR version {match[1]}; {runtime} takes up to {match[2]}",
            "export it with an older onnx, or save it again with a lower ir_version",
        )
    if match := _OPSET.search(text):
        official = _OFFICIAL_OPSET.search(text)
        known = f" has opsets of domain {official[1]} up to {official[2]}" if official else " does not know it"
        return Rejection(
            "UNSUPPORTED_OPSET",
            f"the model uses opset {match[1]}; {runtime}{known}",
            "export the model for an older opset, or convert it with onnx.version_converter",
        )
    if match := _NO_KERNEL.search(text):
        return _no_operator(f"{match[1]} (of opset {match[2]})", runtime, text)
    if match := _NOT_REGISTERED.search(text):
        return _no_operator(f"{match[1]}::{match[2]}", runtime, text)
    if match := _UNKNOWN_TO_ONNX.search(text):
        return _no_operator(match[1], runtime, text)
    return Rejection(
        "MODEL_LOAD_FAILED", f"{runtime} refuses the model: {_plain(text)}", "the message is ONNX Runtime's own"
    )


def _no_operator(operator: str, runtime: str, text: str) -> Rejection:
    return Rejection(
        "UNSUPPORTED_OPERATOR",
        f"{runtime} has no implementation of {operator} for these types: {_plain(text)}",
        "export the model for another opset, or without this operator",
    )


def _plain(text: str) -> str:
    """ONNX Runtime's message without the names of its source files."""
    return _line(_SOURCE.sub("", _PREFIX.sub("", text)))


def _line(text: str) -> str:
    return " ".join(text.split())[:_MAX_TEXT]
