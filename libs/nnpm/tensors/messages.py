"""The tensors of a whole ModelInferRequest or ModelInferResponse."""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from nnpm.errors import InvalidArgument
from nnpm.tensors import raw, typed
from nnpm.tensors.datatypes import by_name
from nnpm.tensors.elements import FIELDS


class Tensor(Protocol):
    """What is needed of an InferInputTensor or InferOutputTensor."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def contents(self) -> typed.Contents: ...


def arrays(tensors: Sequence[Tensor], raw_contents: Sequence[bytes]) -> dict[str, NDArray[Any]]:
    """The tensors by name, in their order: raw where `raw_contents` holds anything, typed otherwise.

    Pass `request.inputs, request.raw_input_contents` or `response.outputs, response.raw_output_contents`.

    Raises:
        InvalidArgument: naming the tensor, with the reason that `raw.decode` or `typed.decode` gives;
            RAW_CONTENTS_MISMATCH when there are not as many raw contents as tensors, or some have typed contents too;
            DUPLICATE_TENSOR.
    """
    if raw_contents and len(raw_contents) != len(tensors):
        raise InvalidArgument(
            "RAW_CONTENTS_MISMATCH", f"{len(raw_contents)} raw contents for {len(tensors)} tensors; one each is needed"
        )
    found: dict[str, NDArray[Any]] = {}
    for index, tensor in enumerate(tensors):
        if tensor.name in found:
            raise InvalidArgument("DUPLICATE_TENSOR", f"tensor {tensor.name!r} appears twice")
        try:
            found[tensor.name] = _array(tensor, raw_contents[index] if raw_contents else None)
        except InvalidArgument as error:
            raise named(error, tensor.name) from error
    return found


def named(error: InvalidArgument, tensor: str) -> InvalidArgument:
    """The same refusal, naming the tensor that it is about."""
    return InvalidArgument(
        error.reason, f"tensor {tensor!r}: {error.message}", hint=error.hint, metadata={"tensor": tensor}
    )


def _array(tensor: Tensor, content: bytes | None) -> NDArray[Any]:
    datatype = by_name(tensor.datatype)
    if content is None:
        return typed.decode(datatype, tensor.shape, tensor.contents)
    if any(len(getattr(tensor.contents, field)) for field in FIELDS.values()):
        raise InvalidArgument(
            "RAW_CONTENTS_MISMATCH", "it has typed contents beside raw ones; one of the two is needed"
        )
    return raw.decode(datatype, tensor.shape, content)
