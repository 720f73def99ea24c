"""The commit of a version: from a draft whose files are uploaded to a version that everybody sees, or to a refusal.

The order makes it whole or nothing, wherever a process dies:

1. claim the draft (VALIDATING, for a few seconds at a time), so that one commit works on it;
2. check that the artifact service has each file in the size that the manifest states;
3. hold the files there, under the attempt's own name, so that garbage collection cannot take them;
4. inspect the graph;
5. publish: version, package, tags and events in one transaction. Or refuse, and have the files released later.

A commit that dies leaves a claim that runs out; `resume` then takes the draft and begins again at 2.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nnpm.errors import Aborted, FailedPrecondition, NnpmError
from nnpm.package.manifest import FileEntry, Manifest
from nnpm.package.names import PackageName
from nnpm.package.versions import Version as Number
from nnpm.rpc.requests import check_request_id
from nnpm.sql.database import Database
from nnpm.telemetry.logs import get_logger
from nnpm_registry.artifacts import Artifacts
from nnpm_registry.declared import check_declarations, declared_report, has_graph
from nnpm_registry.inspection.inspector import Inspector
from nnpm_registry.records import Draft, Rejection, Report, State, Version
from nnpm_registry.store import drafts

_CLAIM_S = 6.0
_ASKED_AT_ONCE = 16
_NAMED = 5


class Commits:
    """Commits drafts."""

    def __init__(self, database: Database, artifacts: Artifacts, inspector: Inspector) -> None:
        self._database = database
        self._artifacts = artifacts
        self._inspector = inspector
        self._log = get_logger("commits")

    async def commit(self, package: str, version: str, digest: str, *, request_id: str = "") -> Version:
        """Commits a draft: READY, or REJECTED with reasons, or VALIDATING where another commit is at it. Idempotent.

        Raises NotFound VERSION_NOT_FOUND; AlreadyExists VERSION_TAKEN; FailedPrecondition DRAFT_CHANGED, FILES_MISSING;
        Unavailable ARTIFACT_UNREACHABLE. After the last two the draft is as it was.
        """
        check_request_id(request_id)
        name, number = str(PackageName.parse(package)), str(Number.parse(version))
        found, draft, claim = await self._database.write(drafts.claim, name, number, digest, _CLAIM_S)
        return found if draft is None else await self._commit(draft, claim)

    async def resume(self) -> bool:
        """Goes on with one commit that was abandoned; False when there is none."""
        taken = await self._database.write(drafts.claim_abandoned, _CLAIM_S)
        if taken is None:
            return False
        draft, claim = taken
        try:
            version = await self._commit(draft, claim)
        except NnpmError as error:
            self._log.warning(
                "an abandoned commit could not be ended; its draft waits for the next one",
                package=draft.package,
                version=draft.version,
                reason=error.reason,
                error=error.message,
            )
        else:
            self._log.info(
                "ended an abandoned commit", package=draft.package, version=draft.version, state=version.state.value
            )
        return True

    async def _commit(self, draft: Draft, claim: str) -> Version:
        try:
            async with self._kept(draft, claim):
                manifest = Manifest.parse(draft.manifest)
                report = await self._check(draft, manifest)
                if report.rejections:
                    return await self._database.write(drafts.reject, draft, claim, report.rejections)
                return await self._database.write(drafts.publish, draft, claim, manifest, report)
        except asyncio.CancelledError:
            # The caller went away, or the service stops: upkeep, of this process or the next, goes on with it.
            await asyncio.shield(self._database.write(drafts.let_go, draft, claim, state=State.VALIDATING))
            raise
        except Aborted:
            await self._database.write(drafts.release_if_dead, draft)
            raise
        except Exception:
            await self._database.write(drafts.let_go, draft, claim, state=State.DRAFT)
            raise

    @asynccontextmanager
    async def _kept(self, draft: Draft, claim: str) -> AsyncIterator[None]:
        """Renews the claim as long as the body runs."""
        keeper = asyncio.create_task(self._keep(draft, claim))
        try:
            yield
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper

    async def _keep(self, draft: Draft, claim: str) -> None:
        while True:
            await asyncio.sleep(_CLAIM_S / 3)
            try:
                if not await self._database.write(drafts.renew, draft, claim, _CLAIM_S):
                    return
            except NnpmError as error:
                self._log.warning("a claim was not renewed", reason=error.reason, error=error.message)

    async def _check(self, draft: Draft, manifest: Manifest) -> Report:
        wrong = await self._check_sizes(manifest)
        if wrong:
            return Report(rejections=tuple(wrong))
        digests = sorted({entry.digest for entry in manifest.files})
        if not await self._artifacts.hold(manifest.package.namespace, draft.referrer, digests):
            raise _files_missing(manifest, list(manifest.files))
        if not has_graph(manifest):
            return declared_report(manifest)
        report = await self._inspect(manifest)
        if report.rejections:
            return report
        return Report(report.signature, report.facts, tuple(check_declarations(manifest, report.signature)))

    async def _check_sizes(self, manifest: Manifest) -> list[Rejection]:
        """Files whose size is not what the manifest states. Raises FailedPrecondition FILES_MISSING."""
        turn = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def size(entry: FileEntry) -> int | None:
            async with turn:
                return await self._artifacts.size(manifest.package.namespace, entry.digest)

        sizes = await asyncio.gather(*map(size, manifest.files))
        missing = [entry for entry, found in zip(manifest.files, sizes, strict=True) if found is None]
        if missing:
            raise _files_missing(manifest, missing)
        return [
            Rejection(
                "FILE_SIZE_MISMATCH",
                f"file {entry.path!r} has {found} bytes; the manifest states {entry.size}",
                "make the manifest again from the files",
            )
            for entry, found in zip(manifest.files, sizes, strict=True)
            if found != entry.size
        ]

    async def _inspect(self, manifest: Manifest) -> Report:
        model = manifest.file(manifest.model)
        if model is None:
            raise AssertionError("a manifest names its model among its files")
        namespace, digest = manifest.package.namespace, model.digest
        return await self._inspector.inspect(
            manifest.model,
            {entry.path: entry.size for entry in manifest.files},
            lambda offset, length: self._artifacts.read(namespace, digest, offset, length),
        )


def _files_missing(manifest: Manifest, missing: list[FileEntry]) -> FailedPrecondition:
    named = ", ".join(repr(entry.path) for entry in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return FailedPrecondition(
        "FILES_MISSING",
        f"not all files of {manifest.name} {manifest.version} are uploaded: {named}{more}",
        hint=f"upload them into the namespace {manifest.package.namespace!r}, then commit again",
        metadata={"package": manifest.name, "version": manifest.version},
    )
