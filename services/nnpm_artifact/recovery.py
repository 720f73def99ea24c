"""Builds the index anew from the packs, when it was lost: their footers, recipes and references tell all of it.

What only the index knew is gone: the uploads that were under way. Their chunks are there, and the next one finds them.
"""

from collections.abc import Iterator
from itertools import islice

from sqlalchemy import Connection

from nnpm.errors import DataLoss, FailedPrecondition, NotFound
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_artifact.pack_store import PackStore, StoredPack
from nnpm_artifact.packs import Footer, PackKind, open_entry, prefix_of, read_footer, stored_bytes
from nnpm_artifact.recipes import Part
from nnpm_artifact.references import Reference
from nnpm_artifact.store import chunk_rows, facts, file_rows, pack_rows
from nnpm_artifact.store.pack_rows import PackRow
from nnpm_artifact.store.rows import make_namespace
from nnpm_artifact.store.schema import PackState
from nnpm_artifact.threads import Threads

_LISTED_AT_ONCE = 500
_ORDER = (PackKind.CHUNKS, PackKind.RECIPE, PackKind.REFERENCES)


class Recovery:
    """Reads every pack of the store into an index that is new."""

    def __init__(self, database: Database, store: PackStore, threads: Threads) -> None:
        self._database = database
        self._store = store
        self._threads = threads
        self._log = get_logger("recovery")

    async def rebuild_if_new(self) -> int:
        """How many packs were taken in; 0 for an index that is whole, or when there are no packs.

        Chunks first, then the recipes that name them, then the references that name those. A pack that is damaged, or
        names what is not there, is left out and named in the log; its object stays, for a person to look at. Goes on
        where it was cut off.
        """
        if await self._database.read(facts.is_whole):
            return 0
        count = 0
        for kind in _ORDER:
            listing = self._store.list(prefix_of(kind))
            while listed := await self._threads.run(_some, listing):
                for stored in listed:
                    count += await self._take_in(stored)
        await self._database.write(facts.set_whole)
        if count:
            self._log.info("the index was built anew from the packs", packs=count)
        return count

    async def _take_in(self, stored: StoredPack) -> bool:
        if await self._database.read(pack_rows.known, stored.name):
            return False
        try:
            footer = await self._threads.run(read_footer, self._store, stored.name, stored.size)
            await self._database.write(self._index, stored, footer)
        except NotFound:
            return False  # collected since it was listed, by another process
        except (DataLoss, FailedPrecondition) as error:
            self._log.error("a pack was left out of the index", pack=stored.name, error=str(error))
            return False
        return True

    def _index(self, connection: Connection, stored: StoredPack, footer: Footer) -> None:
        if pack_rows.known(connection, stored.name) or facts.is_whole(connection):
            return  # another process builds the index as well, and was faster
        namespace_id = make_namespace(connection, footer.namespace)
        content = stored_bytes(footer.entries)
        pack = pack_rows.begin(connection, stored.name, namespace_id, footer.kind, size=stored.size, content=content)
        if footer.kind is PackKind.CHUNKS:
            chunk_rows.index_pack(connection, pack, footer.entries, None)
        elif footer.kind is PackKind.RECIPE:
            self._index_recipe(connection, pack, footer)
        else:
            self._index_references(connection, pack, footer)

    def _index_recipe(self, connection: Connection, pack: PackRow, footer: Footer) -> None:
        first = next((Part.decode(data) for data in self._contents(pack, footer)), None)
        if first is None or file_rows.committed(connection, pack.namespace_id, [first.file_digest]):
            pack_rows.set_state(connection, pack.id, PackState.DELETING)
            return
        file_rows.add(connection, pack, map(Part.decode, self._contents(pack, footer)), footer.created_ms)

    def _index_references(self, connection: Connection, pack: PackRow, footer: Footer) -> None:
        for data in self._contents(pack, footer):
            reference = Reference.decode(data)
            found = file_rows.committed(connection, pack.namespace_id, reference.digests)
            if len(found) < len(set(reference.digests)):
                self._log.error("a reference names files that are lost", referrer=reference.referrer, pack=pack.name)
            file_rows.refer(connection, pack, reference.referrer, found.values())

    def _contents(self, pack: PackRow, footer: Footer) -> Iterator[bytes]:
        """The raw bytes of a pack's entries, one after the other."""
        for entry in footer.entries:
            yield bytes(open_entry(entry, self._store.read(pack.name, entry.offset, entry.stored), pack.name))


def _some(listing: Iterator[StoredPack]) -> list[StoredPack]:
    """The next few of a listing; none at its end."""
    return list(islice(listing, _LISTED_AT_ONCE))
