"""The folder of a mesh's unix sockets: private to the user, and short, because a socket's path may have 107 bytes."""

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from nnpm.errors import FailedPrecondition

PATH_LIMIT = 100
"""Bytes of the longest socket path that is used. Linux takes 107, macOS 103."""

LONGEST_NAME = len("/worker-999.sock")
PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
"""Paths that mean the same in a `unix:` address of gRPC, which decodes percent signs, as on the disk."""


def run_folder(data: Path) -> Path:
    """Make the folder for the sockets of the mesh whose data folder is `data`: `data/run`, or a short one elsewhere.

    The same data folder gets the same run folder each time, so that what a killed mesh left is used again.

    Raises:
        FailedPrecondition: RUN_FOLDER_UNSAFE when somebody else owns the folder, or others may enter it.
    """
    inside = data / "run"
    folder = inside if _fits(inside) else _short(data)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise FailedPrecondition(
            "RUN_FOLDER_UNSAFE",
            f"{folder}, where the sockets of this mesh belong, is not a folder of this user",
            hint=f"remove {folder}, or use a data folder with a shorter path",
            metadata={"folder": str(folder)},
        )
    folder.chmod(0o700)
    return folder


def clear_run_folder(folder: Path) -> None:
    """Remove the sockets and the folder; whatever else is in it stays."""
    for socket in folder.glob("*.sock"):
        socket.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()


def _fits(folder: Path) -> bool:
    text = str(folder)
    return len(os.fsencode(text)) + LONGEST_NAME <= PATH_LIMIT and PLAIN.fullmatch(text) is not None


def _short(data: Path) -> Path:
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if not _fits(base / "nnpm-0000000000-0123456789abcdef"):
        base = Path("/tmp")  # noqa: S108 -- the folder below it is checked to be ours and 0700
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return base / f"nnpm-{os.getuid()}-{name}"
