"""Keeps a loading model from being in memory twice.

ONNX Runtime maps external data, reads each weight once, and keeps its own packed copy of what goes into a matrix
product; the mapping of a weight is dropped only when that weight is packed. A model whose weights are few and large
would so take up to twice its size while it loads (measured: 6.2 GiB for a single 3 GiB weight). Switching packing off
would change results in the last bits. Instead, while a model loads, the pages of its mapped files are pushed out of
memory again and again. MADV_PAGEOUT only moves pages out, contents are never lost: whatever is touched again comes back
from the file, so that even a mapping that has changed meanwhile is safe to name.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MADV_PAGEOUT = 21  # Linux >= 5.4
_INTERVAL = 0.1  # seconds; at 1 GB/s of packing about 100 MB are mapped and unused
_MAPS = Path("/proc/self/maps")


@contextmanager
def released_while_loading(folder: Path) -> Iterator[None]:
    """While the block runs, keep the files mapped from `folder` out of this process's resident memory.

    Does nothing where the system cannot do it.
    """
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None or not _MAPS.exists():
        yield
        return
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    done = threading.Event()

    def release() -> None:
        while not done.wait(_INTERVAL):
            for start, size in _mappings(f"{folder}/"):
                madvise(start, size, _MADV_PAGEOUT)

    thread = threading.Thread(target=release, name="release-pages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _mappings(prefix: str) -> list[tuple[int, int]]:
    found = []
    for line in _MAPS.read_text(errors="replace").splitlines():
        # "7f12a000-7f13a000 rw-p 00000000 fd:00 1234   /path": five columns, then the path.
        columns = line.split(maxsplit=5)
        if len(columns) == 6 and columns[5].startswith(prefix):
            start, _, end = columns[0].partition("-")
            found.append((int(start, 16), int(end, 16) - int(start, 16)))
    return found
