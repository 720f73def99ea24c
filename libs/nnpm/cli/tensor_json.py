"""Tensors as JSON: nested lists, or `{"datatype", "shape", "data", "encoding"?}` as `nnpm infer --json` prints them."""

import base64
import binascii
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpm.client.inference import to_array
from nnpm.errors import InvalidArgument

Values = dict[str, Any]
"""Input name -> numpy array, or nested lists still to be made into one."""


def parse(text: str, where: str) -> Any:
    """Any JSON value. Raises InvalidArgument INVALID_INPUT_FILE, naming `where`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise InvalidArgument("INVALID_INPUT_FILE", f"{where}: no JSON: {fault}") from fault


def named_values(parsed: Any, where: str) -> Values:
    """The tensors in an object: `{"x": [[1, 2]]}`, or a whole document of `nnpm infer --json`."""
    if not isinstance(parsed, dict):
        raise InvalidArgument("INVALID_INPUT_FILE", f'{where}: wanted an object such as {{"x": [[1, 2]]}}')
    return {name: value_of(value, where) for name, value in parsed.items()}


def value_of(parsed: Any, where: str) -> Any:
    """One tensor: an array where its datatype stands there, else nested lists."""
    if not isinstance(parsed, dict):
        return parsed
    if "data" not in parsed:
        raise InvalidArgument("INVALID_INPUT_FILE", f"{where}: a tensor is a list, or an object with `data`")
    data = parsed["data"]
    try:
        if parsed.get("encoding") == "base64":
            data = each(data, lambda one: base64.b64decode(one, validate=True))
        if "datatype" in parsed:
            array = to_array(where, data, str(parsed["datatype"]))
            return array.reshape(parsed.get("shape", array.shape))
        return np.array(data, dtype=np.object_).reshape(parsed["shape"]).tolist() if "shape" in parsed else data
    except (binascii.Error, TypeError, ValueError) as fault:
        raise InvalidArgument("INVALID_INPUT_FILE", f"{where}: {fault}") from fault


def tensor_value(array: NDArray[Any], datatype: str) -> dict[str, Any]:
    """A tensor for JSON. Numbers that JSON lacks are texts (`NaN`); bytes that are no UTF-8 make all of it base64."""
    value: dict[str, Any] = {"datatype": datatype, "shape": list(array.shape)}
    if datatype != "BYTES":
        plain = array.astype(np.float32) if datatype in ("BF16", "FP16") else array
        value["data"] = each(plain.tolist(), _finite) if plain.dtype.kind == "f" else plain.tolist()
        return value
    try:
        value["data"] = each(array.tolist(), lambda one: as_bytes(one).decode())
    except UnicodeDecodeError:
        value["encoding"] = "base64"
        value["data"] = each(array.tolist(), lambda one: base64.b64encode(as_bytes(one)).decode())
    return value


def each(value: Any, change: Callable[[Any], Any]) -> Any:
    """`change` on every leaf of nested lists."""
    return [each(one, change) for one in value] if isinstance(value, list) else change(value)


def as_bytes(value: Any) -> bytes:
    """An element of a BYTES tensor."""
    return value if isinstance(value, bytes) else str(value).encode()


def _finite(number: float) -> float | str:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
