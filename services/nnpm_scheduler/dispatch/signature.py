"""Does a request fit the deployed signature? Decided by the request's header alone; tensor data is not looked at.

The rules are those of the Open Inference Protocol (https://github.com/kserve/open-inference-protocol): every input
either raw or typed, raw contents one per input in the same order, FP16 and BF16 raw only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from nnpm.errors import FieldViolation, InvalidArgument, Unimplemented
from nnpm.queue.entry import InputSpec, Layout
from nnpm.tensors.elements import ELEMENTS, FIELDS, LENGTH_SIZE, Element
from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_scheduler.dispatch.header import UNCOUNTED, Header, InputHeader

_OTHER = Element(0)
"""A datatype that only a newer registry knows: of no fixed size, and raw."""
_MOST_ELEMENTS = 1 << 62
_NOT_SERVED = {
    "shared_memory_region": "send tensors in the message",
    "classification": "ask for the output itself and sort it (tritonclient: leave out class_count)",
}
"""Parameters of tensors by which Triton's clients ask for extensions that change what is answered, and what to do."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A signature made ready for checking: its tensors by name."""

    inputs: dict[str, TensorSpec]
    outputs: frozenset[str]
    required: tuple[str, ...]

    @classmethod
    def of(cls, signature: Signature) -> "Checked":
        """Done once a revision, not once a request."""
        return cls(
            inputs={tensor.name: tensor for tensor in signature.inputs},
            outputs=frozenset(tensor.name for tensor in signature.outputs),
            required=tuple(tensor.name for tensor in signature.inputs if not tensor.optional),
        )


def check(header: Header, signature: Checked) -> Layout | None:
    """Whether the request fits, and how its raw tensors are to be read.

    Returns:
        The layout when every input came raw and none is BYTES, else None: then the worker parses the body.

    Raises:
        InvalidArgument: naming the tensor, what was wanted and what came.
        Unimplemented: EXTENSION_NOT_SERVED; an answer that passed the wish over in silence would be a wrong one.
    """
    for parameter in header.asked & _NOT_SERVED.keys():
        message = f"a tensor has the parameter {parameter}, an extension that is not served here"
        raise Unimplemented("EXTENSION_NOT_SERVED", message, hint=_NOT_SERVED[parameter])
    _check_names(header, signature)
    for index, tensor in enumerate(header.inputs):
        _check_type_and_shape(index, tensor, signature.inputs[tensor.name])
    plain = _check_raw(header) if header.raw else _check_typed(header)
    if header.outputs:
        _check_outputs(header.outputs, signature.outputs)
    if not plain:
        return None
    return Layout(
        model_name=header.model_name,
        inputs=tuple(InputSpec(tensor.name, tensor.datatype, tensor.shape) for tensor in header.inputs),
        outputs=tuple(header.outputs),
        size=sum(span.length for span in header.raw),
    )


def _check_names(header: Header, signature: Checked) -> None:
    seen: set[str] = set()
    for index, tensor in enumerate(header.inputs):
        if tensor.name not in signature.inputs:
            wanted = _listed(signature.inputs)
            _refuse("UNKNOWN_INPUT", f"inputs[{index}].name", f"input {_short(tensor.name)}", wanted, "no such input")
        if tensor.name in seen:
            what = f"input {_short(tensor.name)}"
            _refuse("DUPLICATE_TENSOR", f"inputs[{index}].name", what, "each input once", "it twice")
        seen.add(tensor.name)
    if len(seen) < len(signature.required) or not seen.issuperset(signature.required):
        for name in signature.required:
            if name not in seen:
                got = _listed(seen).replace("one of", "only") if seen else "no input"
                _refuse("MISSING_INPUT", "inputs", f"input {_short(name)}", "it present", got)


def _check_type_and_shape(index: int, tensor: InputHeader, wanted: TensorSpec) -> None:
    if tensor.datatype != wanted.datatype:
        what = f"input {_short(tensor.name)}"
        _refuse("WRONG_DATATYPE", f"inputs[{index}].datatype", what, wanted.datatype, _short(tensor.datatype))
    shape = tensor.shape
    if wanted.unranked:
        fits = all(dimension >= 0 for dimension in shape)
    else:
        fits = len(shape) == len(wanted.shape) and all(
            got == free if free >= 0 else got >= 0 for got, free in zip(shape, wanted.shape, strict=True)
        )
    if not fits:
        field, what = f"inputs[{index}].shape", f"input {_short(tensor.name)}"
        if min(shape, default=0) < 0:
            # The signature's own -1 (any size) would read as if it had been kept to.
            _refuse("INVALID_SHAPE", field, what, "no negative dimension", f"shape {_shape(shape)}")
        _refuse("WRONG_SHAPE", field, what, f"shape {_shape(wanted.shape)}", f"shape {_shape(shape)}")


def _check_raw(header: Header) -> bool:
    """Whether a layout can be given, after the byte counts were found right."""
    if any(tensor.typed for tensor in header.inputs):
        index = next(index for index, tensor in enumerate(header.inputs) if tensor.typed)
        what = f"input {_short(header.inputs[index].name)}"
        field = f"inputs[{index}].contents"
        _refuse("RAW_CONTENTS_MISMATCH", field, what, "either raw_input_contents or contents, for all inputs", "both")
    if len(header.raw) != len(header.inputs):
        wanted, got = f"one for each of the {len(header.inputs)} inputs", str(len(header.raw))
        _refuse("RAW_CONTENTS_MISMATCH", "raw_input_contents", "the list of raw contents", wanted, got)
    plain = True
    for index, (tensor, span) in enumerate(zip(header.inputs, header.raw, strict=True)):
        size = ELEMENTS.get(tensor.datatype, _OTHER).size
        elements = _elements(index, tensor)
        if size == 0:
            plain = False
            fits = span.length >= LENGTH_SIZE * elements and (elements > 0 or span.length == 0)
            wanted = f"at least {LENGTH_SIZE * elements}" if elements else "0"
        else:
            fits = span.length == size * elements
            wanted = str(size * elements)
        if not fits:
            field, what = f"raw_input_contents[{index}]", f"input {_short(tensor.name)}"
            wanted += f" bytes for {tensor.datatype} of shape {_shape(tensor.shape)}"
            _refuse("TENSOR_SIZE_MISMATCH", field, what, wanted, f"{span.length} bytes")
    return plain


def _check_typed(header: Header) -> bool:
    """Never plain: typed contents have to be parsed. A request without inputs is as plain as raw ones."""
    for index, tensor in enumerate(header.inputs):
        field, what = f"inputs[{index}].contents", f"input {_short(tensor.name)}"
        elements = _elements(index, tensor)
        element = ELEMENTS.get(tensor.datatype, _OTHER)
        if element.number == 0 and (elements or tensor.typed):
            _refuse("INVALID_CONTENTS", field, what, f"{tensor.datatype} in raw_input_contents", "none there")
        typed = tensor.typed or {}
        for other, count in typed.items():
            if other != element.number and count:
                _refuse("INVALID_CONTENTS", field, what, f"{tensor.datatype} in {element.field}", FIELDS[other])
        got = typed.get(element.number, 0)
        if got not in (elements, UNCOUNTED):
            wanted = f"{elements} elements for shape {_shape(tensor.shape)}"
            _refuse("TENSOR_SIZE_MISMATCH", f"{field}.{element.field}", what, wanted, f"{got} elements")
    return not header.inputs


def _elements(index: int, tensor: InputHeader) -> int:
    elements = 1
    for dimension in tensor.shape:
        elements *= dimension
        if elements > _MOST_ELEMENTS:
            if 0 in tensor.shape:
                return 0
            field, what = f"inputs[{index}].shape", f"input {_short(tensor.name)}"
            _refuse("INVALID_SHAPE", field, what, "elements that fit a message", f"shape {_shape(tensor.shape)}")
    return elements


def _check_outputs(outputs: Sequence[str], known: frozenset[str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(outputs):
        field, what = f"outputs[{index}].name", f"output {_short(name)}"
        if name not in known:
            _refuse("UNKNOWN_OUTPUT", field, what, _listed(known), "no such output")
        if name in seen:
            _refuse("DUPLICATE_TENSOR", field, what, "each output once", "it twice")
        seen.add(name)


def _refuse(reason: str, field: str, what: str, wanted: str, got: str) -> NoReturn:
    message = f"{what}: wanted {wanted}, got {got}"
    violation = FieldViolation(field, f"wanted {wanted}, got {got}")
    raise InvalidArgument(reason, message, violations=[violation], metadata={"wanted": wanted, "got": got})


def _listed(names: Sequence[str] | frozenset[str] | set[str] | dict[str, TensorSpec]) -> str:
    shown = ", ".join(_short(name) for name in sorted(names)[:16])
    return f"one of {shown}" + (", ..." if len(names) > 16 else "") if names else "none"


def _short(name: str) -> str:
    """Clients choose these names: they are quoted, and cut where they would swell the status."""
    return repr(name if len(name) <= 80 else f"{name[:80]}...")


def _shape(shape: Sequence[int]) -> str:
    shown = ", ".join(map(str, shape[:16]))
    return f"[{shown}, ... {len(shape)} dimensions]" if len(shape) > 16 else f"[{shown}]"
