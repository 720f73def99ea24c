"""Files that are hashed while their chunks arrive, so that a commit need not read them back.

Whoever uploads may say where in which file a chunk stands. Chunks of one file that come in order, from its beginning,
go through one SHA-256 as they come, and so does the list of them. Nothing is believed: a commit takes that hash only
for a recipe that begins with the very same list, and every chunk was verified by its own digest.
"""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

from nnpm_artifact.recipes import Chunk, encode_chunks

MAX_FILES = 4096
"""Files that are followed at once, about 1 KiB each; the one that was not touched for longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stands, as its sender says: SHA-256 of the whole file (32 bytes) and offset of its first byte."""

    file: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """The beginning of a file: how many chunks came in order, the hash of their bytes and of the list of them."""

    count: int
    whole: "hashlib._Hash"
    recipe: "hashlib._Hash"


class _Beginning:
    """Grows by the chunk that comes next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # streams of one upload are verified in different threads
        self._count = self._end = 0
        self._whole, self._recipe = hashlib.sha256(), hashlib.sha256()

    def extend(self, offset: int, chunk: Chunk, data: bytes) -> None:
        """Nothing happens when chunks are lacking in between, or when it is here already."""
        with self._lock:
            if offset != self._end:
                return
            self._whole.update(data)
            self._recipe.update(encode_chunks([chunk]))
            self._count += 1
            self._end += chunk.size

    def copy(self) -> Arrived:
        with self._lock:
            return Arrived(self._count, self._whole.copy(), self._recipe.copy())


class Arrivals:
    """The files of all uploads of this process that are arriving."""

    def __init__(self, limit: int = MAX_FILES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._files: OrderedDict[tuple[str, bytes], _Beginning] = OrderedDict()

    def take(self, upload_id: str, place: Place, chunk: Chunk, data: bytes) -> None:
        """A chunk that was verified and added. Blocks while it is hashed, if it comes in order."""
        self._beginning(upload_id, place.file).extend(place.offset, chunk, data)

    def arrived(self, upload_id: str, file: bytes) -> Arrived:
        """What has come of a file; nothing when no stream said so, or it was forgotten."""
        with self._lock:
            found = self._files.get((upload_id, file))
        return (found or _Beginning()).copy()

    def forget(self, upload_id: str, file: bytes) -> None:
        """It is committed."""
        with self._lock:
            self._files.pop((upload_id, file), None)

    def _beginning(self, upload_id: str, file: bytes) -> _Beginning:
        """The file's, new if need be."""
        key = (upload_id, file)
        with self._lock:
            if key not in self._files:
                self._files[key] = _Beginning()
                if len(self._files) > self._limit:
                    self._files.popitem(last=False)
            self._files.move_to_end(key)
            return self._files[key]
