"""Desired state in memory: a copy of what the store knows, renewed after every change."""

import asyncio
import time
from collections.abc import Mapping

from nnpm.errors import FailedPrecondition, NnpmError, NotFound
from nnpm.telemetry.logs import get_logger
from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.deployments import Deployment
from nnpm_scheduler.control.store import Store

LOOK = 1.0
"""Seconds between two looks for what another scheduler has changed."""

BELIEVED = 5.0
"""Seconds for which a successful look proves that the database can be reached."""


class DesiredState:
    """The deployments by name, as of the last look into the store."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes
        self._deployments: Mapping[str, Deployment] = {}
        self._count = -1
        self._looked = float("-inf")
        self._looking = asyncio.Lock()
        self._log = get_logger("control")

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """All deployments, by name."""
        return tuple(self._deployments.values())

    @property
    def reachable(self) -> bool:
        """Whether the database answered lately."""
        return time.monotonic() - self._looked < BELIEVED

    def find(self, name: str) -> Deployment:
        """The deployment of that name, or the only one of that package.

        Raises NotFound DEPLOYMENT_NOT_FOUND, FailedPrecondition AMBIGUOUS_MODEL.
        """
        found = self._deployments.get(name)
        if found is not None:
            return found
        serving = self.of_package(name)
        if len(serving) > 1:
            names = ", ".join(deployment.name for deployment in serving)
            raise FailedPrecondition(
                "AMBIGUOUS_MODEL",
                f"{name} is served by several deployments: {names}",
                hint="name one of these deployments instead of the package",
                metadata={"deployments": names},
            )
        if not serving:
            raise unknown(name)
        return serving[0]

    def of_package(self, package: str) -> list[Deployment]:
        """The deployments that serve the package."""
        return [deployment for deployment in self._deployments.values() if deployment.spec.package == package]

    async def refresh(self) -> None:
        """Read what has changed. A caller that has just changed the store sees its change when this returns."""
        async with self._looking:
            reading = await self._store.read(self._count)
            self._looked = time.monotonic()
            if reading is None:
                return
            kept = {
                name: deployment
                for name, deployment in self._deployments.items()
                if reading.names.get(name) == deployment.uid
            }
            kept.update({deployment.name: deployment for deployment in reading.changed})
            self._deployments = dict(sorted(kept.items()))
            self._count = reading.count
            self._changes.bump()

    async def keep(self) -> None:
        """Looks again and again until cancelled: schedulers share the store."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self.refresh()
            except NnpmError as error:
                self._log.warning("the database does not answer", error=str(error))


def unknown(name: str) -> NotFound:
    """The error for a deployment that nobody made."""
    return NotFound(
        "DEPLOYMENT_NOT_FOUND",
        f"no deployment and no deployed package is called {name[:200]!r}",
        hint="nnpm ps lists the deployments",
        metadata={"deployment": name[:200]},
    )
