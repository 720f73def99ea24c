"""The artifact service's rooms put together without a server, and a small client of the service."""

import hashlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path

import grpc.aio

import nnpm_artifact
from nnpm.api.artifact.v1 import artifact_pb2 as pb
from nnpm.api.artifact.v1 import artifact_pb2_grpc
from nnpm.errors import Unavailable
from nnpm.package.digest import format_digest
from nnpm.sql.database import Database
from nnpm_artifact.arrivals import Arrivals, Place
from nnpm_artifact.collection import Collection
from nnpm_artifact.commits import Claim, Commits
from nnpm_artifact.files import Files
from nnpm_artifact.flushes import Flushes
from nnpm_artifact.intake import Brought, Intakes, Stored
from nnpm_artifact.pack_ledger import PackLedger
from nnpm_artifact.pack_store import PackStore, StoredPack
from nnpm_artifact.reading import ChunkReader
from nnpm_artifact.recipes import Chunk
from nnpm_artifact.recovery import Recovery
from nnpm_artifact.references import Reference, References
from nnpm_artifact.staged import Staged
from nnpm_artifact.store.file_rows import FileRow
from nnpm_artifact.threads import Threads
from nnpm_artifact.uploads import Uploads

MIGRATIONS = Path(nnpm_artifact.__file__).with_name("migrations")
CHUNK_BYTES = 64 * 1024
MESSAGE_BYTES = 2 << 20


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that no two seeds share."""
    return random.Random(seed).randbytes(size)


def cut(data: bytes, size: int = CHUNK_BYTES) -> list[bytes]:
    """Pieces of even length: where a file is cut is the client's matter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def refs(pieces: Iterable[bytes]) -> list[Chunk]:
    return [Chunk(digest(piece), len(piece)) for piece in pieces]


def missing_of(bitmap: bytes, pieces: Sequence[bytes]) -> list[bytes]:
    """Those pieces whose bit is set."""
    return [piece for index, piece in enumerate(pieces) if bitmap[index >> 3] >> (index & 7) & 1]


def placed(pieces: Iterable[bytes], file: bytes, offset: int = 0) -> list[Brought]:
    """Pieces that stand one after the other from `offset` of the file with that digest, as their sender says."""
    brought = []
    for piece in pieces:
        brought.append(Brought(digest(piece), piece, Place(file, offset)))
        offset += len(piece)
    return brought


class ManualClock:
    """Unix milliseconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


class StumblingStore:
    """A pack store that is out of reach for the methods named in `down`, or `full`: a dead server or disk."""

    def __init__(self, store: PackStore) -> None:
        self._store = store
        self.down: set[str] = set()
        self.full = False
        self.confirms = True
        self.reads = 0
        self.refused = 0

    @property
    def staging(self) -> Path:
        return self._store.staging

    def stage(self, limit: int | None) -> Staged:
        return self._store.stage(limit)

    def put(self, name: str, staged: Staged) -> bool:
        self._stumble("put")
        return self._store.put(name, staged) and self.confirms

    def read(self, name: str, offset: int, length: int) -> bytes:
        self._stumble("read")
        self.reads += 1
        return self._store.read(name, offset, length)

    @property
    def shares(self) -> bool:
        return self._store.shares

    def share(self, name: str, offset: int, length: int) -> str:
        return self._store.share(name, offset, length)

    def size(self, name: str) -> int:
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[StoredPack]:
        return self._store.list(prefix)

    def delete(self, name: str) -> None:
        self._stumble("delete")
        self._store.delete(name)

    def check_space(self, wanted: int) -> None:
        self._store.check_space(1 << 60 if self.full else wanted)

    def check(self) -> None:
        self._store.check()

    def close(self) -> None:
        self._store.close()

    def _stumble(self, method: str) -> None:
        if method in self.down:
            self.refused += 1
            raise Unavailable("STORE_UNAVAILABLE", f"no {method} now")


class ArtifactRooms:
    """All of the domain over a store and a database, as `__main__` composes it."""

    def __init__(
        self,
        pack_store: PackStore,
        database_url: str,
        clock: Callable[[], int],
        *,
        lease_s: int = 3600,
        grace_s: int = 0,
        seat: str = "one",
    ) -> None:
        self.store = store = StumblingStore(pack_store)
        self.database_url = database_url
        self.database = Database("artifact", database_url, MIGRATIONS)
        self.database.migrate()
        self.threads = Threads()
        self.flushes = Flushes()
        self.ledger = PackLedger(store, self.database, self.threads, self.flushes, clock, seat=seat)
        self.uploads = Uploads(self.database, self.flushes, clock, lease_ms=lease_s * 1000)
        self.arrivals = Arrivals()
        self.reader = ChunkReader(store, self.database, self.threads)
        self.intakes = Intakes(
            self.database, self.ledger, self.uploads, self.flushes, self.threads, arrivals=self.arrivals
        )
        self.commits = Commits(
            self.database, self.ledger, self.reader, self.uploads, self.threads, arrivals=self.arrivals
        )
        self.files = Files(self.database, self.reader)
        self.references = References(self.database, self.ledger, self.threads)
        self.collection = Collection(self.database, store, self.ledger, self.threads, clock, grace_ms=grace_s * 1000)
        self.recovery = Recovery(self.database, store, self.threads)

    async def start(self) -> "ArtifactRooms":
        await self.recovery.rebuild_if_new()
        await self.ledger.recover()
        return self

    async def close(self) -> None:
        await self.flushes.close()
        self.threads.close()
        self.database.close()
        self.store.close()

    async def open_upload(self, namespace: str = "acme", request_id: str = "") -> str:
        return (await self.uploads.create(namespace, request_id)).upload_id

    async def missing(self, upload: str, pieces: Sequence[bytes]) -> list[bytes]:
        return missing_of(await self.uploads.find_missing(upload, refs(pieces)), pieces)

    async def send(self, upload: str, pieces: Sequence[bytes]) -> Stored:
        return await self.bring(upload, [Brought(digest(piece), piece) for piece in pieces])

    async def bring(self, upload: str, brought: Sequence[Brought]) -> Stored:
        """One stream, in messages of about 2 MiB."""
        intake = self.intakes.open(await self.uploads.renew(upload))
        try:
            for start in range(0, len(brought), 32):
                await intake.take(brought[start : start + 32])
            return await intake.finish()
        except BaseException:
            await intake.abandon()
            raise

    async def commit(self, upload: str, data: bytes, pieces: Sequence[bytes] | None = None) -> FileRow:
        recipe = _stream(refs(cut(data) if pieces is None else pieces))
        return await self.commits.commit(upload, Claim(digest(data), len(data)), recipe)

    async def put(self, data: bytes, namespace: str = "acme", *, keep: bool = True) -> str:
        """Upload and commit a file; with `keep` the upload stays open and holds it. Its upload."""
        upload = await self.open_upload(namespace)
        pieces = cut(data)
        await self.send(upload, await self.missing(upload, pieces))
        await self.commit(upload, data, pieces)
        if not keep:
            await self.uploads.delete(upload)
        return upload

    async def read(self, data_digest: bytes, offset: int = 0, length: int = 0, namespace: str = "acme") -> bytes:
        return b"".join([bytes(part) async for part in self.files.read(namespace, data_digest, offset, length)])

    async def refer(self, referrer: str, *files: bytes, namespace: str = "acme") -> None:
        await self.references.add(namespace, Reference(referrer, tuple(map(digest, files))))

    def packs(self, prefix: str = "") -> set[str]:
        """Names of the objects in the store."""
        kinds = [prefix] if prefix else ["chunks/", "recipe/", "references/"]
        return {pack.name for kind in kinds for pack in self.store.list(kind)}


async def _stream(chunks: Sequence[Chunk]) -> AsyncIterator[Sequence[Chunk]]:
    for start in range(0, len(chunks), 700):
        yield chunks[start : start + 700]


class ArtifactClient:
    """Talks to an artifact service as a publisher does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub: artifact_pb2_grpc.ArtifactServiceAsyncStub = artifact_pb2_grpc.ArtifactServiceStub(channel)

    async def open_upload(self, namespace: str = "acme", request_id: str = "") -> str:
        request = pb.CreateUploadRequest(namespace=namespace, request_id=request_id)
        return (await self.stub.CreateUpload(request)).upload_id

    async def missing(self, upload: str, pieces: Sequence[bytes]) -> list[bytes]:
        found: list[bytes] = []
        for start in range(0, len(pieces), 8192):
            asked = pieces[start : start + 8192]
            chunks = [pb.Chunk(digest=digest(piece), size=len(piece)) for piece in asked]
            answer = await self.stub.FindMissingChunks(pb.FindMissingChunksRequest(upload_id=upload, chunks=chunks))
            found += missing_of(answer.missing, asked)
        return found

    async def send(self, upload: str, pieces: Sequence[bytes]) -> pb.UploadChunksResponse:
        return await self.stub.UploadChunks(upload_messages(upload, pieces))

    async def commit(self, upload: str, data: bytes, pieces: Sequence[bytes] | None = None) -> pb.File:
        recipe = refs(cut(data) if pieces is None else pieces)
        return (await self.stub.CommitFile(commit_messages(upload, digest(data), len(data), recipe))).file

    async def put(self, data: bytes, namespace: str = "acme", request_id: str = "") -> str:
        """Upload what is missing and commit; the upload, which holds the file."""
        upload = await self.open_upload(namespace, request_id)
        pieces = cut(data)
        await self.send(upload, await self.missing(upload, pieces))
        await self.commit(upload, data, pieces)
        return upload

    async def read(self, data_digest: bytes, offset: int = 0, length: int = 0, namespace: str = "acme") -> bytes:
        request = pb.ReadFileRequest(
            namespace=namespace, digest=format_digest(data_digest), offset=offset, length=length
        )
        return b"".join([part.data async for part in self.stub.ReadFile(request)])

    async def refer(self, referrer: str, *files: bytes, namespace: str = "acme") -> None:
        digests = [format_digest(digest(data)) for data in files]
        request = pb.AddReferencesRequest(namespace=namespace, referrer=referrer, digests=digests)
        await self.stub.AddReferences(request)

    async def collect(self, grace: float | None = 0, *, dry_run: bool = False) -> pb.CollectGarbageResponse:
        request = pb.CollectGarbageRequest(dry_run=dry_run)
        if grace is not None:
            request.grace.FromMilliseconds(int(grace * 1000))
        return await self.stub.CollectGarbage(request)


def upload_messages(upload: str, pieces: Sequence[bytes]) -> Iterator[pb.UploadChunksRequest]:
    """Messages of about 2 MiB; at least one."""
    batch: list[pb.ChunkData] = []
    size = 0
    for piece in pieces:
        batch.append(pb.ChunkData(digest=digest(piece), data=piece))
        size += len(piece)
        if size >= MESSAGE_BYTES:
            yield pb.UploadChunksRequest(upload_id=upload, chunks=batch)
            batch, size = [], 0
    yield pb.UploadChunksRequest(upload_id=upload, chunks=batch)


def commit_messages(
    upload: str, file_digest: bytes, size: int, recipe: Sequence[Chunk]
) -> Iterator[pb.CommitFileRequest]:
    """The recipe, up to 8,192 chunks a message."""
    yield pb.CommitFileRequest(upload_id=upload, digest=format_digest(file_digest), size=size)
    for start in range(0, len(recipe), 8192):
        part = recipe[start : start + 8192]
        yield pb.CommitFileRequest(chunks=[pb.Chunk(digest=chunk.digest, size=chunk.size) for chunk in part])
