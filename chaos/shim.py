"""Makes a process's wall clock jump and its disk slow: a little library, preloaded, that a mapped file tells how."""

import mmap
import shutil
import struct
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "shim" / "shim.c"


def build(folder: Path) -> Path | None:
    """The library; None where there is no C compiler, or where libraries are not preloaded so."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Shim:
    """What one process is told. Without a library everything but the telling works.

    Args:
        file: holds what it is told.
    """

    def __init__(self, library: Path | None, file: Path) -> None:
        file.write_bytes(bytes(16))
        self._library = library
        self._file = file
        with file.open("r+b") as opened:
            self._told = mmap.mmap(opened.fileno(), 16)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the process is started with."""
        if self._library is None:
            return {}
        return {"LD_PRELOAD": str(self._library), "NNPM_CHAOS_SHIM": str(self._file)}

    def jump(self, seconds: float) -> None:
        """The wall clock is so far off now."""
        struct.pack_into("q", self._told, 0, int(seconds * 1e9))

    def slow_disk(self, seconds: float) -> None:
        """A flush to the disk takes so much longer now."""
        struct.pack_into("q", self._told, 8, int(seconds * 1e6))
