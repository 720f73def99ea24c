"""The promise of a pack store: whole, immutable objects under names that are never used twice.

One suite of tests, tests/integration/nnpm_artifact/test_pack_stores.py, runs against every store and two S3 servers.
All methods block and may be called from several threads; callers run them in an executor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nnpm_artifact.staged import Staged


@dataclass(frozen=True, slots=True)
class StoredPack:
    """An object in the store."""

    name: str
    size: int


class PackStore(Protocol):
    """Every method raises Unavailable STORE_UNAVAILABLE, within seconds, when the store is out of reach."""

    @property
    def staging(self) -> Path:
        """A folder of this process's own, for packs that are being written. Emptied when the store is opened."""
        ...

    def stage(self, limit: int | None) -> Staged:
        """A place to write a pack in, of `limit` bytes at most (None: nobody knows). The caller closes it.

        Raises ResourceExhausted DISK_FULL.
        """
        ...

    def put(self, name: str, staged: Staged) -> bool:
        """Store what was staged under `name`: durable when this returns, and visible whole or not at all.

        True when what was stored is known to have the checksum that was taken when it was written; False where the
        store does not say. What is staged stays the caller's to close; it must not be written to any more.

        Raises AlreadyExists PACK_EXISTS and changes nothing when `name` is taken, ResourceExhausted DISK_FULL when
        there is no space, Unavailable STORE_UNAVAILABLE when another checksum was found.
        """
        ...

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Exactly `length` bytes (1 or more) from `offset`.

        Raises NotFound PACK_NOT_FOUND; DataLoss PACK_CORRUPT when the object ends before.
        """
        ...

    @property
    def shares(self) -> bool:
        """Whether `share` may be called."""
        ...

    def share(self, name: str, offset: int, length: int) -> str:
        """A URL that opens just these bytes to whoever has it, for some minutes. Asks nobody."""
        ...

    def size(self, name: str) -> int:
        """Bytes of the object. Raises NotFound PACK_NOT_FOUND."""
        ...

    def list(self, prefix: str) -> Iterator[StoredPack]:
        """All objects whose names begin with `prefix`, in no order; constant memory."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object. One that is gone already is no error."""
        ...

    def check_space(self, wanted: int) -> None:
        """Raises ResourceExhausted DISK_FULL when `wanted` bytes surely find no place."""
        ...

    def check(self) -> None:
        """Returns when the store can be reached."""
        ...

    def close(self) -> None:
        """Let go of connections and locks."""
        ...
