"""References: the roots of garbage collection. A file that one refers to stays.

Each addition is also an object of its own in the store, so that an index that was lost knows it again: a reference pack
has one entry, the referrer (u16 length, UTF-8) and the files' digests (32 bytes each).
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from nnpm.errors import DataLoss, InvalidArgument, NotFound
from nnpm.package.digest import format_digest
from nnpm.package.names import check_namespace
from nnpm.sql.database import Database
from nnpm_artifact.pack_ledger import PackLedger
from nnpm_artifact.packs import PackKind
from nnpm_artifact.store import file_rows
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.store.rows import namespace_id
from nnpm_artifact.threads import Threads

MAX_FILES = 100_000
_MAX_REFERRER = 512
_LENGTH = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class Reference:
    """Who refers to which files (SHA-256, 32 bytes each)."""

    referrer: str
    digests: tuple[bytes, ...]

    def encode(self) -> bytes:
        name = self.referrer.encode()
        return _LENGTH.pack(len(name)) + name + b"".join(self.digests)

    @classmethod
    def decode(cls, data: bytes) -> "Reference":
        """Raises DataLoss REFERENCE_CORRUPT."""
        try:
            (length,) = _LENGTH.unpack_from(data)
            (name,) = struct.unpack_from(f"{length}s", data, _LENGTH.size)
            digests = data[_LENGTH.size + length :]
            return cls(name.decode(), tuple(digest for (digest,) in struct.iter_unpack("32s", digests)))
        except (struct.error, UnicodeDecodeError) as error:
            raise DataLoss("REFERENCE_CORRUPT", f"a stored reference does not read: {error}") from error


class References:
    """Adds and removes roots."""

    def __init__(self, database: Database, ledger: PackLedger, threads: Threads) -> None:
        self._database = database
        self._ledger = ledger
        self._threads = threads

    async def add(self, namespace: str, reference: Reference) -> None:
        """Let the referrer hold files, besides those that it holds already.

        Raises NotFound FILE_NOT_FOUND, changing nothing, unless all of them are committed.
        """
        _check(namespace, reference.referrer)
        if not 1 <= len(reference.digests) <= MAX_FILES:
            raise InvalidArgument("TOO_MANY_FILES", f"a reference names 1 to {MAX_FILES} files in one call")
        if await self._database.read(_held_already, namespace, reference):
            return
        known = await self._database.read(namespace_id, namespace)
        if known is None:
            raise _unknown_files(namespace, reference.digests)
        encoded = reference.encode()
        builder = self._ledger.start(PackKind.REFERENCES, namespace)

        def record(connection: Connection, pack: PackRow) -> None:
            found = file_rows.committed(connection, pack.namespace_id, reference.digests)
            if missing := [digest for digest in reference.digests if digest not in found]:
                raise _unknown_files(namespace, missing)
            file_rows.refer(connection, pack, reference.referrer, found.values())

        try:
            await self._threads.run(self._ledger.add, builder, {hashlib.sha256(encoded).digest(): encoded})
        except BaseException:
            builder.close()
            raise
        await self._ledger.keep(builder, known, record)

    async def remove(self, namespace: str, referrer: str) -> None:
        """Let go of all files that `referrer` holds in a namespace. Holding none is no error."""
        _check(namespace, referrer)
        known = await self._database.read(namespace_id, namespace)
        if known is not None:
            await self._database.write(file_rows.unrefer, known, referrer)


def _held_already(connection: Connection, namespace: str, reference: Reference) -> bool:
    """Whether there is nothing to add: a repeated call."""
    known = namespace_id(connection, namespace)
    if known is None:
        return False
    found = file_rows.committed(connection, known, reference.digests)
    missing = any(digest not in found for digest in reference.digests)
    return not missing and set(found.values()) <= file_rows.referred(connection, known, reference.referrer)


def _check(namespace: str, referrer: str) -> None:
    check_namespace(namespace)
    if not 1 <= len(referrer) <= _MAX_REFERRER:
        raise InvalidArgument("INVALID_REFERRER", f"a referrer has 1 to {_MAX_REFERRER} characters")


def _unknown_files(namespace: str, digests: Sequence[bytes]) -> NotFound:
    names = ", ".join(format_digest(digest) for digest in digests[:5])
    more = f" and {len(digests) - 5} more" if len(digests) > 5 else ""
    return NotFound(
        "FILE_NOT_FOUND",
        f"namespace {namespace} has no file {names}{more}",
        hint="commit the files, then refer to them",
        metadata={"namespace": namespace},
    )
