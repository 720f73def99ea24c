"""The runtimes that are installed here: distributions bring them, as entry points in the group `nnpm.runtimes`.

All are loaded when the worker starts: importing somebody's code takes as long as it takes, and may fail in any way, so
none of it happens while requests are served.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from nnpm.errors import FailedPrecondition
from nnpm.package.manifest import Manifest
from nnpm.telemetry.logs import get_logger
from nnpm_worker.runtime import Model, PackageFiles, PackageRuntime, Runtime, RuntimeOptions, Signature

GROUP = "nnpm.runtimes"

_log = get_logger("plugins")


class Runtimes:
    """The runtimes of this worker."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._made: dict[str, Runtime] = {}
        self._unusable: dict[str, str] = {}
        for point in _found():
            self._make(point, options)

    @property
    def usable(self) -> tuple[str, ...]:
        """The names of those that a model may be loaded with."""
        return tuple(sorted(self._made))

    def get(self, name: str) -> Runtime:
        """The runtime of that name. Raises FailedPrecondition RUNTIME_UNKNOWN."""
        if name in self._made:
            return self._made[name]
        if name in self._unusable:
            raise FailedPrecondition(
                "RUNTIME_UNKNOWN", f"runtime {name!r} is not usable on this worker: {self._unusable[name]}"
            )
        raise FailedPrecondition(
            "RUNTIME_UNKNOWN",
            f"this worker has no runtime {name!r}; it has {', '.join(self.usable) or 'none'}",
            hint=f"install a distribution with the entry point {name!r} in the group {GROUP!r}, and restart the worker",
        )

    def check(self, manifest: Manifest) -> None:
        """Raises what `load` would raise of a package before any of its files is there."""
        runtime = self.get(manifest.runtime)
        if isinstance(runtime, PackageRuntime):
            runtime.check(manifest)

    def load(self, manifest: Manifest, files: PackageFiles, signature: Signature) -> Model:
        """The package's model, loaded by the package's runtime."""
        runtime = self.get(manifest.runtime)
        if isinstance(runtime, PackageRuntime):
            return runtime.load_package(manifest, files, signature)
        return runtime.load(files.folder / manifest.model, signature)

    def _make(self, point: EntryPoint, options: RuntimeOptions) -> None:
        try:
            runtime: Runtime = point.load()(options)
            pure = runtime.pure
        except Exception as error:  # noqa: BLE001 -- foreign code: whatever it raises, the others are served
            self._refuse(point.name, f"{type(error).__name__}: {error}")
            return
        if pure:
            self._made[point.name] = runtime
        else:
            self._refuse(point.name, "nnpm may repeat a run, and its runs are not pure")

    def _refuse(self, name: str, why: str) -> None:
        self._unusable[name] = why
        _log.warning("a runtime is installed but not usable", runtime=name, why=why)


def _found() -> Iterable[EntryPoint]:
    """One a name: the first on the path, as for modules."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, point)
    return found.values()
