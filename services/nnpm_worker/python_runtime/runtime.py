"""The runtime `python`: whose class may run here, and how its process is started."""

from nnpm.errors import FailedPrecondition, PermissionDenied
from nnpm.package.manifest import Manifest
from nnpm_worker.python_runtime.model import PythonModel
from nnpm_worker.python_runtime.process import ClassProcess, Start
from nnpm_worker.runtime import PackageFiles, RuntimeOptions, Signature


class PythonRuntime:
    """See `nnpm_worker.runtime.PackageRuntime`."""

    pure = True
    """As the author of a class promises: a run has no effect but its outputs."""

    providers: tuple[str, ...] = ()
    """What a class computes on is its own affair."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options

    def check(self, manifest: Manifest) -> None:
        """Raises PermissionDenied RUNTIME_NOT_GRANTED, FailedPrecondition MODEL_LOAD_FAILED."""
        if not self._options.code.grants.allow(manifest):
            raise PermissionDenied(
                "RUNTIME_NOT_GRANTED",
                f"{manifest.name} brings a Python class, and its code is not granted to run on this worker",
                hint=f"whoever runs the worker grants it: NNPM_WORKER_PYTHON_GRANTS={manifest.name} (and restarts it)",
                metadata={"package": manifest.name, "digest": manifest.digest()},
            )
        if manifest.entry is None:
            raise FailedPrecondition("MODEL_LOAD_FAILED", f"the manifest of {manifest.name} names no class: `entry`")

    def load_package(self, manifest: Manifest, files: PackageFiles, signature: Signature) -> PythonModel:
        """Import and make the class in a new process. Raises FailedPrecondition MODEL_LOAD_FAILED."""
        self.check(manifest)
        code = self._options.code
        start = Start(
            package=manifest.name,
            folder=files.folder,
            entry=str(manifest.entry),
            memory_bytes=code.memory_bytes,
            threads=self._options.threads,
        )

        def started() -> ClassProcess:
            # A class could have changed its own files; a process begins with what was published.
            files.check_unchanged()
            return ClassProcess(start)

        return PythonModel(started, signature, code)
