"""Which tensor lies where in an area, as both processes tell each other in JSON."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from numpy.typing import NDArray

from nnpm.errors import InvalidArgument
from nnpm.tensors import raw
from nnpm.tensors.datatypes import by_name, of_array
from nnpm_worker.python_runtime.area import Area
from nnpm_worker.python_runtime.frames import Garbled

_ALIGNMENT = 64  # bytes; what numpy's vectorised loops like best

Told = list[dict[str, Any]]


def lay(tensors: Mapping[str, NDArray[Any]], area: Area) -> Told:
    """Write tensors into an area, from its beginning on.

    Raises:
        InvalidArgument: UNKNOWN_DATATYPE, INVALID_CONTENTS: an array that the protocol cannot carry.
        OSError, MemoryError: the area cannot be made so large.
    """
    told: Told = []
    contents = []
    end = 0
    for name, array in tensors.items():
        content = raw.encode(array)
        offset = -(-end // _ALIGNMENT) * _ALIGNMENT
        end = offset + len(content)
        contents.append((offset, content))
        told.append(
            {
                "name": name,
                "datatype": of_array(array).name,
                "shape": list(array.shape),
                "offset": offset,
                "size": len(content),
            }
        )
    room = area.room(end)
    for offset, content in contents:
        room[offset : offset + len(content)] = content
    return told


def pick(told: object, area: Area, *, most_bytes: int, copy: bool) -> dict[str, NDArray[Any]]:
    """The tensors that the other process says lie in an area; read-only arrays.

    Args:
        told: as it came; believed in nothing.
        most_bytes: more than that, of all tensors together, is not read.
        copy: whether the arrays shall outlast the next message, and whatever the other process writes.

    Raises:
        Garbled: what is told cannot be.
    """
    if not isinstance(told, list):
        raise Garbled("tensors that are no list")
    found: dict[str, NDArray[Any]] = {}
    left = most_bytes
    for entry in told:
        name, datatype, shape, offset, size = _checked(entry)
        left -= size
        if left < 0:
            raise Garbled(f"tensors of more than {most_bytes} bytes")
        if name in found:
            raise Garbled(f"tensor {name!r} twice")
        try:
            view = area.content(offset + size)[offset:]
            array = raw.decode(by_name(datatype), shape, bytes(view) if copy else view.toreadonly())
        except (InvalidArgument, ValueError) as error:
            raise Garbled(f"tensor {name!r}: {error}") from error
        found[name] = array
    return found


def _checked(entry: object) -> tuple[str, str, list[int], int, int]:
    if not isinstance(entry, dict):
        raise Garbled("a tensor that is no object")
    name, datatype, shape, offset, size = (entry.get(key) for key in ("name", "datatype", "shape", "offset", "size"))
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise Garbled("a tensor without name or datatype")
    if not isinstance(shape, list) or not all(_is_count(dimension) for dimension in shape):
        raise Garbled(f"tensor {name!r} without a shape")
    if not _is_count(offset) or not _is_count(size):
        raise Garbled(f"tensor {name!r} without a place")
    return name, datatype, shape, offset, size


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 62
