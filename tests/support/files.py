"""Facts about files, in constant memory."""

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """A file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
