"""The client for programs without an event loop: `AsyncClient` on a loop of its own, in a thread."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from nnpm.client.async_client import DEPLOY_TIMEOUT, AsyncClient
from nnpm.client.inference import TIMEOUT
from nnpm.client.records import (
    Batching,
    Deployment,
    Inference,
    Installed,
    ModelInfo,
    ModelStatistics,
    OnProgress,
    Package,
    Published,
    Quota,
    Resolution,
    Tag,
    Version,
    ignore_progress,
)
from nnpm.package.folder import Contents
from nnpm.rpc.tls import Tls

Answer = TypeVar("Answer")

_CLOSE_SECONDS = 2.0


class Client:
    """Everything that a mesh does for its users, in blocking calls; safe to use from several threads.

        with Client() as client:
            client.deploy("acme/tiny@^1", wait=True)
            answer = client.infer("acme/tiny", {"x": np.ones((1, 4), np.float32)})

    Arguments, methods and errors are those of `AsyncClient`. Ctrl-C in a call cancels it at the server too.
    """

    def __init__(
        self,
        data: Path | str | None = None,
        *,
        scheduler: str = "",
        control: str = "",
        registry: str = "",
        artifact: str = "",
        tls: Tls | None = None,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nnpm-client", daemon=True)
        self._thread.start()
        self._closed = False

        async def make() -> AsyncClient:
            return AsyncClient(
                data, scheduler=scheduler, control=control, registry=registry, artifact=artifact, tls=tls
            )

        try:
            self._client = self._run(make())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections and ends the thread; calling it again does nothing."""
        if not self._closed:
            self._run(self._client.close())
            self._stop()

    # Packages

    def publish(
        self,
        path: Path | str,
        *,
        name: str = "",
        version: str = "",
        license: str = "",  # noqa: A002 (the manifest's word)
        on_progress: OnProgress = ignore_progress,
    ) -> Published:
        """See AsyncClient.publish."""
        return self._run(
            self._client.publish(path, name=name, version=version, license=license, on_progress=on_progress)
        )

    def publish_contents(self, contents: Contents, *, on_progress: OnProgress = ignore_progress) -> Published:
        """See AsyncClient.publish_contents."""
        return self._run(self._client.publish_contents(contents, on_progress=on_progress))

    def install(self, reference: str, to: Path | str, *, on_progress: OnProgress = ignore_progress) -> Installed:
        """See AsyncClient.install."""
        return self._run(self._client.install(reference, to, on_progress=on_progress))

    def install_version(
        self, version: Version, to: Path | str, *, on_progress: OnProgress = ignore_progress
    ) -> Installed:
        """See AsyncClient.install_version."""
        return self._run(self._client.install_version(version, to, on_progress=on_progress))

    def packages(self, namespace: str = "") -> tuple[Package, ...]:
        """See AsyncClient.packages."""
        return self._run(self._client.packages(namespace))

    def search(self, query: str = "", limit: int = 50) -> tuple[Package, ...]:
        """See AsyncClient.search."""
        return self._run(self._client.search(query, limit))

    def package(self, name: str) -> Package:
        """See AsyncClient.package."""
        return self._run(self._client.package(name))

    def versions(self, name: str) -> tuple[Version, ...]:
        """See AsyncClient.versions."""
        return self._run(self._client.versions(name))

    def version(self, name: str, version: str) -> Version:
        """See AsyncClient.version."""
        return self._run(self._client.version(name, version))

    def resolve(self, reference: str) -> Resolution:
        """See AsyncClient.resolve."""
        return self._run(self._client.resolve(reference))

    def tags(self, name: str) -> tuple[Tag, ...]:
        """See AsyncClient.tags."""
        return self._run(self._client.tags(name))

    def set_tag(self, name: str, tag: str, version: str) -> Tag:
        """See AsyncClient.set_tag."""
        return self._run(self._client.set_tag(name, tag, version))

    def delete_tag(self, name: str, tag: str) -> None:
        """See AsyncClient.delete_tag."""
        self._run(self._client.delete_tag(name, tag))

    def yank(self, name: str, version: str, reason: str = "") -> Version:
        """See AsyncClient.yank."""
        return self._run(self._client.yank(name, version, reason))

    def unyank(self, name: str, version: str) -> Version:
        """See AsyncClient.unyank."""
        return self._run(self._client.unyank(name, version))

    # Deployments

    def deploy(
        self,
        reference: str,
        *,
        name: str = "",
        replicas: int | None = None,
        batching: Batching | None = None,
        quota: Quota | None = None,
        wait: bool = False,
        timeout: float = DEPLOY_TIMEOUT,
    ) -> Deployment:
        """See AsyncClient.deploy."""
        return self._run(
            self._client.deploy(
                reference, name=name, replicas=replicas, batching=batching, quota=quota, wait=wait, timeout=timeout
            )
        )

    def undeploy(self, name: str) -> Deployment:
        """See AsyncClient.undeploy."""
        return self._run(self._client.undeploy(name))

    def pause(self, name: str) -> Deployment:
        """See AsyncClient.pause."""
        return self._run(self._client.pause(name))

    def resume(self, name: str, *, wait: bool = False, timeout: float = DEPLOY_TIMEOUT) -> Deployment:
        """See AsyncClient.resume."""
        return self._run(self._client.resume(name, wait=wait, timeout=timeout))

    def deployment(self, name: str) -> Deployment:
        """See AsyncClient.deployment."""
        return self._run(self._client.deployment(name))

    def deployments(self) -> tuple[Deployment, ...]:
        """See AsyncClient.deployments."""
        return self._run(self._client.deployments())

    # Inference

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        request_id: str = "",
        timeout: float = TIMEOUT,
    ) -> Inference:
        """See AsyncClient.infer."""
        return self._run(
            self._client.infer(model, inputs, version=version, outputs=outputs, request_id=request_id, timeout=timeout)
        )

    def info(self, model: str, version: str = "") -> ModelInfo:
        """See AsyncClient.info."""
        return self._run(self._client.info(model, version))

    def ready(self, model: str = "", version: str = "") -> bool:
        """See AsyncClient.ready."""
        return self._run(self._client.ready(model, version))

    def statistics(self, model: str = "") -> tuple[ModelStatistics, ...]:
        """See AsyncClient.statistics."""
        return self._run(self._client.statistics(model))

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        if self._closed:
            work.close()
            raise RuntimeError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        self._closed = True
        asyncio.run_coroutine_threadsafe(_end_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_others() -> None:
    """Ends what is left on the loop: streams that were not read to their end, and gRPC's own tasks of them."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_CLOSE_SECONDS)
    await asyncio.get_running_loop().shutdown_asyncgens()
