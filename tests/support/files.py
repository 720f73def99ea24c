"""Facts about files, in constant memory."""

import hashlib
from pathlib import Path

from nnpm.package.chunking import ChunkedFile, chunk_whole


def sha256(path: Path) -> str:
    """A file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def chunked(path: Path) -> ChunkedFile:
    """A file, cut and hashed."""
    with path.open("rb", buffering=0) as file:
        return chunk_whole(file)
