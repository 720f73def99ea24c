"""Paths inside a package: relative, portable, the same file on every system."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from nnpm.errors import InvalidArgument

MAX_PATH_BYTES = 1024
MAX_SEGMENT_BYTES = 255
_DRIVE = re.compile(r"[A-Za-z]:")
# Control, format (bidi overrides, zero width), surrogate (undecodable names), line and paragraph separators.
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def fault_of(path: str) -> str:
    """What is wrong with `path` as a path inside a package; empty when nothing is."""
    return next((fault for is_so, fault in _FAULTS if is_so(path)), "")


def check_path(path: str) -> str:
    """Returns `path` when it may stand in a package, else raises InvalidArgument INVALID_PATH."""
    if fault := fault_of(path):
        raise InvalidArgument(
            "INVALID_PATH",
            f"path {path[:200]!r} cannot stand in a package: {fault}",
            metadata={"path": path[:200].encode("utf-8", "replace").decode()},
        )
    return path


def clash_among(paths: Iterable[str]) -> str:
    """What makes two of the paths one file on some system, or one the folder of another; empty when nothing does."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = _fold(path)
        if folded in seen:
            return f"{seen[folded]!r} and {path!r} are one file where case does not count"
        seen[folded] = path
    for folded, path in seen.items():
        for parent in PurePosixPath(folded).parents:
            if (holder := seen.get(str(parent))) is not None:
                return f"{holder!r} is both a file and the folder of {path!r}"
    return ""


def resolve_beside(holder: str, location: str) -> str:
    """The package path that `location`, written in the file at package path `holder`, means: relative to its folder.

    Raises InvalidArgument INVALID_PATH for whatever is absolute or has `..` in any spelling, even if it stays inside.
    """
    location = location.removeprefix("./")
    check_path(location)
    folder = PurePosixPath(holder).parent
    return check_path(str(folder / location))


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


def _is_untidy(segment: str) -> bool:
    return segment != segment.strip() or segment.endswith(".")


_FAULTS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda path: not path, "it is empty"),
    (
        lambda path: any(unicodedata.category(character) in _INVISIBLE for character in path),
        "it contains a control or invisible character",
    ),
    (lambda path: "\\" in path, "it contains a backslash; folders are separated by /"),
    (lambda path: path.startswith("/") or bool(_DRIVE.match(path)), "it is absolute"),
    (lambda path: len(path.encode()) > MAX_PATH_BYTES, f"it is longer than {MAX_PATH_BYTES} bytes"),
    (lambda path: ".." in path.split("/"), "it contains .."),
    (lambda path: not {".", ""}.isdisjoint(path.split("/")), "it contains an empty segment or a dot alone"),
    # An installed package must not become a folder's .git/config, or its home's .bashrc.
    (
        lambda path: any(segment.startswith(".") for segment in path.split("/")),
        "it is hidden: a segment begins with a dot",
    ),
    (
        lambda path: any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in path.split("/")),
        f"a segment is longer than {MAX_SEGMENT_BYTES} bytes",
    ),
    (
        lambda path: any(_is_untidy(segment) for segment in path.split("/")),
        "a segment begins or ends with a space, or ends with a dot",
    ),
    (lambda path: unicodedata.normalize("NFC", path) != path, "it is not in Unicode form NFC"),
)
"""In the order in which they are told. Everything behind the second may encode the path."""
