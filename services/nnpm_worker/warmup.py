"""The calls that a model gets before it is ready: the package's samples, else zeros of its signature."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from nnpm.errors import FailedPrecondition, NnpmError
from nnpm.package.manifest import Manifest
from nnpm.telemetry.logs import get_logger
from nnpm.tensors.datatypes import by_name
from nnpm_worker.probe_inputs import zeros
from nnpm_worker.runtime import Model, Signature, Tensors

_MOST_ZEROS = 1 << 28
"""Elements; zeros of a larger signature are not worth their memory."""

_log = get_logger("warmup")


def package_samples(manifest: Manifest, folder: Path, signature: Signature) -> list[Tensors]:
    """The package's own samples. Raises FailedPrecondition MODEL_LOAD_FAILED when one cannot be read."""
    samples: list[Tensors] = []
    for sample in manifest.warmup:
        if sample.file is not None:
            samples.append(_from_file(folder / sample.file, sample.file, signature))
        else:
            samples.append(zeros(signature, sample.shapes))
    return samples


def warm_up(model: Model, signature: Signature, samples: Sequence[Tensors]) -> None:
    """Run the samples, else zeros.

    A sample that the package itself brings has to run. Zeros are a guess: a model may rightly refuse them.

    Raises:
        FailedPrecondition: MODEL_LOAD_FAILED with the runtime's message.
    """
    try:
        for sample in samples:
            model.run(sample, ())
    except NnpmError as error:
        raise FailedPrecondition(
            "MODEL_LOAD_FAILED", f"the model refuses a warm-up sample of its own package: {error.message}"
        ) from error
    if not samples and signature.inputs:
        _run_zeros(model, signature)


def _run_zeros(model: Model, signature: Signature) -> None:
    sizes = [np.prod([max(1, dimension) for dimension in spec.shape or ()], dtype=float) for spec in signature.inputs]
    if sum(sizes) > _MOST_ZEROS:
        return
    try:
        model.run(zeros(signature), ())
    except NnpmError as error:
        _log.info("the model does not take zeros as a warm-up", why=error.message)


def _from_file(path: Path, name: str, signature: Signature) -> Tensors:
    datatypes = {spec.name: by_name(spec.datatype) for spec in signature.inputs}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                key: _typed(arrays[key], datatypes[key].dtype if key in datatypes else None) for key in arrays.files
            }
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise FailedPrecondition("MODEL_LOAD_FAILED", f"warm-up sample {name} cannot be read: {error}") from error


def _typed(array: NDArray[Any], dtype: np.dtype[Any] | None) -> NDArray[Any]:
    """As the runtime wants it: texts as bytes; BF16, which `.npz` cannot name, from its bits or from floats."""
    if array.dtype.kind in "SU":
        texts: NDArray[Any] = np.empty(array.size, np.object_)
        texts[:] = [text.encode() if isinstance(text, str) else text for text in array.reshape(-1).tolist()]
        return texts.reshape(array.shape)
    if dtype is None or dtype.hasobject or array.dtype == dtype:
        return array
    return (
        array.view(dtype) if array.dtype.kind == "V" and array.dtype.itemsize == dtype.itemsize else array.astype(dtype)
    )
