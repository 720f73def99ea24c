"""Load and unload by a model's name, as the Open Inference Protocol has them: done when it is done."""

import time

from nnpm.errors import Aborted, DeadlineExceeded, FailedPrecondition, NotFound
from nnpm.package.names import is_slug
from nnpm.package.references import PackageReference
from nnpm_scheduler.control.changes import Changes
from nnpm_scheduler.control.deployments import Deployment, Spec
from nnpm_scheduler.control.desired import DesiredState, unknown
from nnpm_scheduler.control.lifecycle import Lifecycle
from nnpm_scheduler.control.reconciler import Reconciler
from nnpm_scheduler.control.status import DeploymentState, deployment_status

PATIENCE = 300.0
"""Seconds that a load or unload may take where the caller's deadline does not end it before."""


class Repository:
    """What the inference front door knows of deployments beside the routes."""

    def __init__(self, lifecycle: Lifecycle, desired: DesiredState, reconciler: Reconciler, changes: Changes) -> None:
        self._lifecycle = lifecycle
        self._desired = desired
        self._reconciler = reconciler
        self._changes = changes

    def ready(self) -> bool:
        """Whether desired state can be read and changed."""
        return self._desired.reachable

    async def load(self, model: str) -> None:
        """Resume the deployment, or deploy the package with defaults; returns when it serves.

        Raises:
            NotFound: nothing of that name is deployed or published.
            FailedPrecondition: AMBIGUOUS_MODEL, VERSION_YANKED, or MODEL_LOAD_FAILED with the reason of the failure.
            Aborted: DEPLOYMENT_CHANGED, when somebody paused it meanwhile.
            DeadlineExceeded: DEADLINE_EXCEEDED, saying what it still waited for.
        """
        deployment = self._find(model)
        if deployment is not None:
            deployment = await self._lifecycle.resume(deployment.name)
        elif is_slug(model):
            raise unknown(model)
        else:
            reference = PackageReference.parse(model)
            spec = Spec(str(reference.package), str(reference.selector))
            deployment = await self._lifecycle.create("", spec)
        await self._until(deployment, DeploymentState.READY)

    async def unload(self, model: str) -> None:
        """Pause the deployment; returns when it takes no calls.

        Raises:
            NotFound: DEPLOYMENT_NOT_FOUND.
            Aborted: DEPLOYMENT_CHANGED, when somebody resumed it meanwhile.
        """
        deployment = self._find(model)
        if deployment is None:
            raise unknown(model)
        await self._until(await self._lifecycle.pause(deployment.name), DeploymentState.PAUSED)

    def _find(self, model: str) -> Deployment | None:
        """The deployment that `model` (a deployment, package or `package@range`) means, if there is one."""
        try:
            return self._desired.find(model.partition("@")[0])
        except NotFound:
            return None

    async def _until(self, deployment: Deployment, state: DeploymentState) -> None:
        """Waits until the deployment is in `state`, which for PAUSED includes that nothing is warm any more."""
        end = time.monotonic() + PATIENCE
        while True:
            seen = self._changes.count
            current = self._desired.find(deployment.name)
            if current.paused is not (state is DeploymentState.PAUSED):
                # It will not come to what this call waits for: somebody wants the opposite by now.
                raise Aborted(
                    "DEPLOYMENT_CHANGED",
                    f"deployment {deployment.name} was {'paused' if current.paused else 'resumed'} by another call "
                    f"before it was {state.value}",
                    metadata={"deployment": deployment.name},
                )
            status = deployment_status(current, self._reconciler.view())
            if status.state is state and (state is not DeploymentState.PAUSED or not status.ready_replicas):
                return
            if status.state is DeploymentState.FAILED:
                raise FailedPrecondition(
                    "MODEL_LOAD_FAILED",
                    f"deployment {deployment.name} cannot be loaded: {status.message}",
                    metadata={"deployment": deployment.name, "reason": status.reason},
                )
            if time.monotonic() > end:
                raise DeadlineExceeded(
                    "DEADLINE_EXCEEDED", f"deployment {deployment.name} is not {state.value}: {status.message}"
                )
            await self._changes.wait(seen, 1.0)
