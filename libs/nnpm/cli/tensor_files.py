"""Tensors in files: .npy, .npz, JSON, and .jsonl with a call in each line."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nnpm.cli.tensor_json import Values, as_bytes, named_values, parse, value_of
from nnpm.errors import InvalidArgument, NotFound
from nnpm.package.files import write_atomically

_JSON_STARTS = tuple('[{"-0123456789tf')


def read_inputs(options: list[str]) -> Values:
    """What `-i` options give: `NAME=FILE`, `NAME=JSON`, or a `.npz` or `.json` that holds several.

    Raises NotFound FILE_NOT_FOUND, InvalidArgument INVALID_INPUT_FILE.
    """
    found: Values = {}
    for option in options:
        name, equals, source = option.partition("=")
        given = {name: _one(name, source)} if equals and not _is_file(Path(option)) else _several(Path(option))
        for key, value in given.items():
            if key in found:
                raise InvalidArgument("INVALID_INPUT_FILE", f"input {key!r} is given twice")
            found[key] = value
    return found


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a `.npz`."""
    loaded = _load(path)
    if isinstance(loaded, dict):
        return loaded
    raise InvalidArgument("INVALID_INPUT_FILE", f"{path} holds one array without a name", hint="np.savez names them")


def read_lines(path: Path) -> list[Values]:
    """The objects of a `.jsonl`, one call each; empty lines do not count."""
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            where = f"{path}, line {number}"
            found.append(named_values(parse(line, where), where))
    return found


def check_output(path: Path, endings: tuple[str, ...]) -> None:
    """Refuses, before anything is computed, an output file that could not be written after it."""
    if path.suffix not in endings:
        raise InvalidArgument("INVALID_INPUT_FILE", f"{path}: unknown ending", hint=f"write {', '.join(endings)}")
    if not path.absolute().parent.is_dir():
        raise NotFound("FILE_NOT_FOUND", f"the folder {path.parent} does not exist")


def write_outputs(path: Path, outputs: Mapping[str, NDArray[Any]], document: Mapping[str, Any]) -> None:
    """Writes outputs as the file's ending says: `.npz`, `.npy` (one output), `.json` (`document`)."""
    if path.suffix == ".json":
        content = (json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n").encode()
    elif path.suffix == ".npz":
        content = _written(lambda file: _write_npz(file, outputs, path))
    elif len(outputs) == 1:
        array = _storable(next(iter(outputs.values())), path)
        content = _written(lambda file: np.lib.format.write_array(file, array, allow_pickle=False))
    else:
        raise InvalidArgument(
            "INVALID_INPUT_FILE", f"{path} holds one array, there are {len(outputs)} outputs", hint="write a .npz"
        )
    write_atomically(path, content)


def _one(name: str, source: str) -> Any:
    path = Path(source)
    if not _is_file(path):
        return _inline(name, source)
    if path.suffix in (".npy", ".npz"):
        loaded = _load(path)
        if not isinstance(loaded, dict):
            return loaded
        if name in loaded or len(loaded) == 1:
            return loaded[name] if name in loaded else next(iter(loaded.values()))
        raise InvalidArgument(
            "INVALID_INPUT_FILE", f"{path} holds {', '.join(loaded) or 'nothing'}, and nothing named {name!r}"
        )
    parsed = parse(_text(path), str(path))
    if isinstance(parsed, dict) and name in parsed and "data" not in parsed:
        parsed = parsed[name]
    return value_of(parsed, str(path))


def _inline(name: str, source: str) -> Any:
    if source.startswith(_JSON_STARTS):
        try:
            return value_of(json.loads(source), f"-i {name}")
        except (ValueError, RecursionError):
            pass  # a file's name may begin like JSON; that it is not there is the better message
    raise NotFound(
        "FILE_NOT_FOUND",
        f"{source[:200]} does not exist",
        hint=f"-i {name}=FILE takes .npy, .npz or .json, or JSON itself: -i '{name}=[[1, 2]]'",
    )


def _several(path: Path) -> Values:
    if path.suffix == ".npz":
        return dict(read_arrays(path))
    if path.suffix == ".json":
        return named_values(parse(_text(path), str(path)), str(path))
    raise InvalidArgument(
        "INVALID_INPUT_FILE",
        f"-i {path}: which input is it?",
        hint=f"-i NAME={path}; without NAME= .npz and .json only",
    )


def _load(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict(loaded)
    except FileNotFoundError as fault:
        raise NotFound("FILE_NOT_FOUND", f"{path} does not exist") from fault
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as fault:
        raise InvalidArgument("INVALID_INPUT_FILE", f"{path} cannot be read as {path.suffix}: {fault}") from fault


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        raise NotFound("FILE_NOT_FOUND", f"{path} does not exist") from fault
    except UnicodeDecodeError as fault:
        raise InvalidArgument(
            "INVALID_INPUT_FILE", f"{path} is no UTF-8 text", hint="inputs are .npy, .npz or JSON"
        ) from fault


def _write_npz(file: IO[bytes], arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """As np.savez, whose own parameters (`file`) would shadow outputs of that name."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, _storable(array, path), allow_pickle=False)


def _written(write: Callable[[IO[bytes]], None]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _storable(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """An array that .npy can hold without pickling: texts get a fixed width, which cannot end in NUL."""
    if array.dtype.kind != "O":
        return array
    elements = [as_bytes(one) for one in array.reshape(-1).tolist()]
    if any(element.endswith(b"\0") for element in elements):
        raise InvalidArgument(
            "INVALID_INPUT_FILE", f"{path} cannot hold bytes that end in NUL", hint="write a .json file instead"
        )
    return np.array(elements, dtype="S" if elements else "S1").reshape(array.shape)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # JSON in place of a file can be longer than a file's name may be
        return False
