"""Which execution providers of ONNX Runtime are usable here: asked by trying, because a listed one may still fail."""

import onnxruntime as ort

from nnpm.telemetry.logs import get_logger

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

# An ONNX model that adds a number to itself, so that a provider has something to prove itself with.
_PROBE = (
    b'\x08\x08:5\n\x0e\n\x01x\n\x01x\x12\x01y"\x03Add\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)

_log = get_logger("providers")


def usable_providers(wanted: str) -> tuple[str, ...]:
    """The providers to load models with, best first; the CPU is always last, so there is always one.

    Args:
        wanted: `auto` (CUDA where it works), or provider names separated by commas; `cpu` and `cuda` will do.
    """
    names = [CUDA] if wanted == "auto" else [_full_name(name) for name in wanted.split(",") if name.strip()]
    found: list[str] = []
    for name in names:
        if name == CPU:
            continue
        fault = _fault(name)
        if not fault:
            found.append(name)
        elif wanted != "auto":
            _log.warning("execution provider is not usable, going on without it", provider=name, why=fault)
    chosen = (*found, CPU)
    _log.info("execution providers chosen", wanted=wanted, providers=chosen)
    return chosen


def _full_name(name: str) -> str:
    short = name.strip()
    return {"cpu": CPU, "cuda": CUDA}.get(short.lower(), short)


def _fault(name: str) -> str:
    """Why a provider cannot be used; empty when it can."""
    if name not in ort.get_available_providers():
        return "this build of ONNX Runtime does not have it"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(_PROBE, options, providers=[name, CPU])
        session.run_with_ort_values(None, {"x": ort.OrtValue.ortvalue_from_shape_and_type([1], "float32")})
    except Exception as error:  # noqa: BLE001 -- whatever a driver or a missing library raises: it is not usable
        return str(error)
    return "" if name in session.get_providers() else "ONNX Runtime fell back from it"
