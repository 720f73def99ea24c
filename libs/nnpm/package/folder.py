"""Which files make a package: those of a folder with nnpm.toml, or a bare model with the data files that it names."""

import fnmatch
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnpm.errors import InvalidArgument, NotFound
from nnpm.package import config, lock, paths
from nnpm.package.config import Config
from nnpm.package.entry import Entry
from nnpm.package.onnx_references import external_tensors
from nnpm.package.source_file import SourceFile

INSTALLED = "nnpm_models"
"""The folder that `nnpm install` puts a folder's dependencies into."""
_LEFT_OUT = frozenset({config.FILE_NAME, lock.FILE_NAME, INSTALLED, "__pycache__"})


@dataclass(frozen=True, slots=True)
class Contents:
    """A package before it is hashed: what it says of itself, and where each of its files lies on this disk."""

    config: Config
    model: str
    """The model's path in the package."""
    files: Mapping[str, SourceFile]
    """Path in the package -> the file on this disk, sorted."""


def from_folder(folder: Path, settings: Config | None = None) -> Contents:
    """Collects a folder by its nnpm.toml (or by `settings` instead of it): all files but hidden and excluded ones.

    Raises NotFound FILE_NOT_FOUND, InvalidArgument INVALID_CONFIG, INVALID_PATH, EXTERNAL_DATA_OUTSIDE.
    """
    settings = settings or Config.load(folder / config.FILE_NAME)
    root = folder.resolve(strict=True)
    files = {}
    for path in _walk(root, root):
        name = path.relative_to(root).as_posix()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in settings.exclude):
            files[paths.check_path(name)] = _inside(path, root)
    model = settings.model or _module(settings, files) or _only_model(files, folder)
    if model not in files:
        raise NotFound(
            "FILE_NOT_FOUND",
            f"{folder / model} does not exist",
            hint=f"`model` in {config.FILE_NAME} names the model's file",
        )
    return Contents(settings, model, _with_external_data(settings, model, files, root))


def from_model(model: Path, settings: Config) -> Contents:
    """Collects a bare model file and the external data files that it names beside it. Raises as `from_folder`."""
    if not model.is_file():
        raise NotFound("FILE_NOT_FOUND", f"{model} is no file" if model.exists() else f"{model} does not exist")
    root = model.parent.resolve(strict=True)
    name = paths.check_path(model.name)
    # The model itself was named by the user, who may have named a link.
    found = SourceFile.found(model.resolve(strict=True), model)
    return Contents(settings, name, _with_external_data(settings, name, {name: found}, root))


def _with_external_data(
    settings: Config, model: str, files: dict[str, SourceFile], root: Path
) -> dict[str, SourceFile]:
    """`files` and every file that the model's tensors name, checked to lie inside the package and to be long enough."""
    if settings.runtime == "onnx":
        for tensor in external_tensors(files[model].path):
            try:
                name = paths.resolve_beside(model, tensor.location)
            except InvalidArgument as fault:
                raise _outside(tensor.name, tensor.location, str(fault)) from fault
            if name not in files:
                files[name] = _inside(root / name, root, tensor.location)
            _check_extent(files[name], tensor.name, tensor.offset, tensor.length)
    if settings.card and settings.card not in files:
        files[settings.card] = _inside(root / settings.card, root)
    return dict(sorted(files.items()))


def _check_extent(file: SourceFile, tensor: str, offset: int, length: int | None) -> None:
    name = file.path.name
    if file.links > 1:
        raise _outside(tensor, name, "the file has another name elsewhere (a hard link)", "publish a copy of it")
    if offset + (length or 0) > file.size:
        raise InvalidArgument(
            "INVALID_MODEL_FILE",
            f"tensor {tensor!r} ends at byte {offset + (length or 0)} of {name}, which has {file.size}",
            hint="the data file is cut off, or belongs to another export of the model",
        )


def _inside(path: Path, root: Path, location: str = "") -> SourceFile:
    """The regular file that `path` leads to, which must lie under `root`."""
    try:
        resolved = path.resolve(strict=True)
    except FileNotFoundError as fault:
        raise NotFound(
            "FILE_NOT_FOUND",
            f"{path} does not exist" + (", but the model keeps weights in it" if location else ""),
            hint="external data files lie beside the model" if location else "",
        ) from fault
    except (OSError, RuntimeError) as fault:
        raise InvalidArgument("INVALID_PATH", f"{path} cannot be followed: {fault}") from fault
    if not resolved.is_relative_to(root):
        if location:
            raise _outside("", location, f"{path} leads to {resolved}", "publish a copy of the file")
        raise InvalidArgument(
            "INVALID_PATH",
            f"{path} leads outside the package, to {resolved}",
            hint="put a copy of the file there, or exclude it",
        )
    return SourceFile.found(resolved, path)


def _walk(folder: Path, root: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith(".") or entry.name in _LEFT_OUT:
            continue
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if len(os.fsencode(path.relative_to(root))) > paths.MAX_PATH_BYTES:
                raise InvalidArgument(
                    "INVALID_PATH", f"a folder in {root} is nested deeper than {paths.MAX_PATH_BYTES} bytes of path"
                )
            yield from _walk(path, root)
        elif entry.is_symlink() and path.is_dir():
            raise InvalidArgument(
                "INVALID_PATH", f"{path} is a link to a folder", hint="put a copy of the folder there"
            )
        else:
            yield path


def _module(settings: Config, files: Collection[str]) -> str | None:
    """The file of the class that the settings name, if they name one."""
    if settings.entry is None:
        return None
    return next((path for path in Entry.parse(settings.entry).files if path in files), None)


def _only_model(files: Collection[str], folder: Path) -> str:
    models = [name for name in files if name.endswith(".onnx")]
    if "model.onnx" in models:
        return "model.onnx"
    if len(models) == 1:
        return models[0]
    found = f"{len(models)} .onnx files in {folder}" if models else f"no .onnx file in {folder}"
    raise InvalidArgument("INVALID_CONFIG", found, hint=f'say which in {config.FILE_NAME}: model = "model.onnx"')


def _outside(tensor: str, location: str, why: str, hint: str = "") -> InvalidArgument:
    holder = f"tensor {tensor!r}" if tensor else "the model"
    return InvalidArgument(
        "EXTERNAL_DATA_OUTSIDE",
        f"{holder} keeps its weights at {location[:200]!r}, outside the package: {why}",
        hint=hint or "export the model again with its data file beside it, named without folders",
        metadata={"location": location[:200]},
    )
