"""`sha256:<64 hex digits>`: how nnpm writes what a content is."""

import hashlib
import re
from pathlib import Path

from nnpm.errors import InvalidArgument

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PREFIX = "sha256:"
_BLOCK = 1 << 20


def is_digest(text: str) -> bool:
    """Whether `text` is a digest in nnpm's form (lower case)."""
    return bool(_DIGEST.fullmatch(text))


def check_digest(text: str) -> str:
    """Returns `text` when it is a digest, else raises InvalidArgument INVALID_DIGEST."""
    if not is_digest(text):
        raise InvalidArgument(
            "INVALID_DIGEST", f"{text[:100]!r} is no digest", hint="sha256: and 64 lower-case hex digits"
        )
    return text


def format_digest(raw: bytes) -> str:
    """The text of 32 raw bytes."""
    if len(raw) != 32:
        raise InvalidArgument("INVALID_DIGEST", f"a SHA-256 digest has 32 bytes, not {len(raw)}")
    return _PREFIX + raw.hex()


def parse_digest(text: str) -> bytes:
    """The 32 raw bytes of a digest's text. Raises InvalidArgument INVALID_DIGEST."""
    return bytes.fromhex(check_digest(text)[len(_PREFIX) :])


def digest_of(content: bytes | memoryview) -> str:
    """The digest of bytes in memory."""
    return _PREFIX + hashlib.sha256(content).hexdigest()


def digest_of_file(path: Path) -> str:
    """The digest of a file, read in blocks of 1 MiB."""
    whole = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            whole.update(block)
    return _PREFIX + whole.hexdigest()
