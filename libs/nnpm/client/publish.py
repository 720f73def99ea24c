"""Publishing: hash, draft, upload under a lease, commit. Run again after any interruption, it goes on where it was.

Request ids are derived from the manifest's digest, so that a second run meets the draft and the upload of the first.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial

from nnpm.api.artifact.v1 import artifact_pb2
from nnpm.api.registry.v1 import package_pb2, registry_pb2
from nnpm.client import from_messages
from nnpm.client.connection import Connection
from nnpm.client.patience import patiently
from nnpm.client.records import OnProgress, Progress, Published
from nnpm.client.upload import LocalFile, Upload
from nnpm.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, InvalidArgument, NnpmError, NotFound
from nnpm.package.chunking import ChunkedFile, chunk_whole
from nnpm.package.folder import Contents
from nnpm.package.manifest import Manifest
from nnpm.package.source_file import SourceFile

_VALIDATION_TIMEOUT = 600.0
_POLL = 0.25
_UPLOADS = 3
"""How often an upload whose lease was lost is begun anew."""


class Publisher:
    """Publishes packages over one connection; hashing and reading run in `executor`."""

    def __init__(self, connection: Connection, executor: Executor) -> None:
        self._connection = connection
        self._executor = executor

    async def publish(self, contents: Contents, on_progress: OnProgress) -> Published:
        """Publishes a collected package whole or not at all.

        Raises:
            AlreadyExists: VERSION_TAKEN, the version is taken by other content.
            InvalidArgument: the manifest or, after the upload, the model is refused; says why.
            FailedPrecondition: UPLOAD_CHANGED, a file changed meanwhile.
            Unavailable: a service was away for longer than the client's patience.
        """
        await self._check_reachable(contents)
        files = await self._hash(contents.files, on_progress)
        manifest = _manifest(contents, files)
        digest = manifest.digest()
        draft = await self._draft(manifest, digest)
        already = draft.state == package_pb2.VERSION_STATE_READY
        sent = 0
        if not already:
            local = [LocalFile(contents.files[path].path, cut) for path, cut in files.items()]
            upload_id, sent = await self._upload(manifest, digest, local, on_progress)
            on_progress(Progress("check", 0, manifest.size))
            draft = await self._commit(manifest, digest)
            on_progress(Progress("check", manifest.size, manifest.size))
            await self._give_back(upload_id)
        return Published(from_messages.version(draft), manifest.size, sent, already)

    async def _check_reachable(self, contents: Contents) -> None:
        """Raises Unavailable at once when nobody is there: hashing many GB first would be a long way to learn it."""
        try:
            await self._get(contents.config.name, contents.config.version)
        except NotFound:
            return

    async def _hash(self, files: Mapping[str, SourceFile], on_progress: OnProgress) -> dict[str, ChunkedFile]:
        loop = asyncio.get_running_loop()
        total = sum(file.size for file in files.values())
        done = 0
        found = {}
        for name, file in files.items():
            on_progress(Progress("hash", done, total))
            tell = partial(_tell, on_progress, "hash", done, total)
            found[name] = await loop.run_in_executor(self._executor, _cut, file, tell)
            done += found[name].size
        on_progress(Progress("hash", done, total))
        return found

    async def _draft(self, manifest: Manifest, digest: str) -> package_pb2.Version:
        """The version's draft, or the version itself when the very same has been published."""
        request = registry_pb2.CreateVersionRequest(
            manifest=manifest.canonical(), request_id=_request_id("draft", digest)
        )
        try:
            version = (await patiently(partial(self._connection.registry.CreateVersion, request))).version
        except AlreadyExists:
            version = await self._get(manifest.name, manifest.version)
            if version.state != package_pb2.VERSION_STATE_READY or version.digest != digest:
                raise
        if version.digest != digest:
            raise FailedPrecondition(
                "CONTENT_MISMATCH",
                f"the registry drafted {version.digest} for a manifest whose digest is {digest}",
                hint="client and registry are of different versions; upgrade the older one",
            )
        return version

    async def _upload(
        self, manifest: Manifest, digest: str, files: list[LocalFile], on_progress: OnProgress
    ) -> tuple[str, int]:
        """Stores the files; returns the lease that holds them and how many bytes travelled."""
        artifact = self._connection.artifact
        sent = 0
        for attempt in range(_UPLOADS):
            request = artifact_pb2.CreateUploadRequest(
                namespace=manifest.package.namespace, request_id=_request_id(f"upload{attempt}", digest)
            )
            opened = await patiently(partial(artifact.CreateUpload, request))
            upload = Upload(artifact, opened.upload_id, self._executor, on_progress)
            try:
                await upload.store(files)
            except NotFound:  # the lease ran out, for example while this machine slept
                sent += upload.sent_bytes
                continue
            return opened.upload_id, sent + upload.sent_bytes
        raise FailedPrecondition(
            "UPLOAD_EXPIRED",
            "the upload's lease ran out again and again",
            hint="publish again; it goes on where it was",
        )

    async def _give_back(self, upload_id: str) -> None:
        """Ends the lease, which held the files until the registry did."""
        with suppress(NnpmError):  # the version is published; a lease that nobody gives back ends by itself
            await self._connection.artifact.DeleteUpload(artifact_pb2.DeleteUploadRequest(upload_id=upload_id))

    async def _commit(self, manifest: Manifest, digest: str) -> package_pb2.Version:
        request = registry_pb2.CommitVersionRequest(
            package=manifest.name, version=manifest.version, digest=digest, request_id=_request_id("commit", digest)
        )
        registry = self._connection.registry
        loop = asyncio.get_running_loop()
        until = loop.time() + _VALIDATION_TIMEOUT
        while True:
            answer = await patiently(lambda: registry.CommitVersion(request, timeout=_VALIDATION_TIMEOUT))
            if answer.version.state == package_pb2.VERSION_STATE_READY:
                return answer.version
            if answer.version.state == package_pb2.VERSION_STATE_REJECTED:
                raise _rejection(answer.version)
            if loop.time() > until:
                raise DeadlineExceeded(
                    "DEADLINE_EXCEEDED",
                    f"{manifest.name}@{manifest.version} is still being checked after {_VALIDATION_TIMEOUT:.0f} s",
                    hint="publish again; it goes on where it was",
                )
            await asyncio.sleep(_POLL)

    async def _get(self, package: str, version: str) -> package_pb2.Version:
        request = registry_pb2.GetVersionRequest(package=package, version=version)
        return (await self._connection.registry.GetVersion(request)).version


def _cut(file: SourceFile, tell: Callable[[int], None]) -> ChunkedFile:
    with file.open() as opened:
        return chunk_whole(opened, tell)


def _tell(on_progress: OnProgress, stage: str, before: int, total: int, done: int) -> None:
    on_progress(Progress(stage, before + done, total))


def _manifest(contents: Contents, files: Mapping[str, ChunkedFile]) -> Manifest:
    entries = [{"path": path, "size": cut.size, "digest": cut.digest} for path, cut in sorted(files.items())]
    return Manifest.build({**contents.config.stated(), "model": contents.model, "files": entries})


def _request_id(step: str, digest: str) -> str:
    """At most 64 characters that the next run derives again."""
    return f"{step}-{digest.removeprefix('sha256:')[:48]}"


def _rejection(version: package_pb2.Version) -> InvalidArgument:
    first = (
        version.rejections[0] if version.rejections else package_pb2.Rejection(message="the registry gave no reason")
    )
    others = "".join(f"; {one.message}" for one in list(version.rejections)[1:10])
    return InvalidArgument(
        first.reason or "VERSION_REJECTED",
        f"{version.package}@{version.version} was refused: {first.message}{others}",
        hint=first.hint,
        metadata={"package": version.package, "version": version.version},
    )
