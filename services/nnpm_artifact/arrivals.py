"""Files that are hashed while their chunks arrive, so that a commit need not read them back.

Whoever uploads may say where in which file a chunk stands. Chunks of one file that come in order, from its beginning,
go through one SHA-256 as they come, and so does the list of them. Nothing is believed: a commit takes that hash only
for a recipe that begins with the very same list, and every chunk was verified by its own digest.
"""

import hashlib
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from nnpm_artifact.recipes import Chunk, encode_chunks

MAX_FILES = 4096
"""Files that are followed at once, about 1 KiB each; the one that was not touched for longest is forgotten first."""
_AHEAD_BYTES = 4 << 20


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

    def extend(self, offset: int, chunk: Chunk, data: bytes) -> bool:
        """False when chunks are lacking in between. One that is here already changes nothing."""
        with self._lock:
            if offset != self._end:
                return offset < self._end
            self._whole.update(data)
            self._recipe.update(encode_chunks([chunk]))
            self._count += 1
            self._end += chunk.size
            return True

    def copy(self) -> Arrived:
        with self._lock:
            return Arrived(self._count, self._whole.copy(), self._recipe.copy())


class Arrivals:
    """The files of all uploads of this process that are arriving."""

    def __init__(self, limit: int = MAX_FILES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._files: OrderedDict[tuple[str, bytes], _Beginning] = OrderedDict()

    def follow(self, upload_id: str) -> "Follower":
        """For one stream of an upload."""
        return Follower(self, upload_id)

    def beginning(self, upload_id: str, file: bytes) -> _Beginning:
        """The file's, new if need be."""
        key = (upload_id, file)
        with self._lock:
            if key not in self._files:
                self._files[key] = _Beginning()
                if len(self._files) > self._limit:
                    self._files.popitem(last=False)
            self._files.move_to_end(key)
            return self._files[key]

    def arrived(self, upload_id: str, file: bytes) -> Arrived:
        """What has come of a file; nothing when no stream said so, or it was forgotten."""
        with self._lock:
            found = self._files.get((upload_id, file))
        return (found or _Beginning()).copy()

    def forget(self, upload_id: str, file: bytes) -> None:
        """It is committed."""
        with self._lock:
            self._files.pop((upload_id, file), None)


class Follower:
    """Hands on the verified chunks of one stream.

    The end of a stream may be overtaken by the beginning of the next one. So what comes ahead of its turn is kept for
    a while, 4 MiB at most; beyond that the rest of the file is not followed.
    """

    def __init__(self, arrivals: Arrivals, upload_id: str) -> None:
        self._arrivals = arrivals
        self._upload_id = upload_id
        self._ahead: deque[tuple[Place, Chunk, bytes]] = deque()
        self._ahead_bytes = 0

    def take(self, place: Place, chunk: Chunk, data: bytes) -> None:
        """Blocks while it hashes."""
        self.catch_up()
        if self._ahead or not self._extend(place, chunk, data):
            self._keep(place, chunk, data)

    def catch_up(self) -> None:
        """See whether the turn of what is kept has come."""
        while self._ahead and self._extend(*self._ahead[0]):
            self._ahead_bytes -= self._ahead.popleft()[1].size

    def _keep(self, place: Place, chunk: Chunk, data: bytes) -> None:
        self._ahead.append((place, chunk, data))
        self._ahead_bytes += chunk.size
        while self._ahead_bytes > _AHEAD_BYTES:
            self._ahead_bytes -= self._ahead.popleft()[1].size
            self.catch_up()

    def _extend(self, place: Place, chunk: Chunk, data: bytes) -> bool:
        return self._arrivals.beginning(self._upload_id, place.file).extend(place.offset, chunk, data)
