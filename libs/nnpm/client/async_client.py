"""The client for programs that run an event loop."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nnpm.client.catalog import Catalog
from nnpm.client.connection import Connection
from nnpm.client.deployments import Deployments
from nnpm.client.inference import TIMEOUT, Inferrer
from nnpm.client.install import Installer
from nnpm.client.publish import Publisher
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
from nnpm.errors import NotFound
from nnpm.mesh.find import find_mesh
from nnpm.package import folder as package_folder
from nnpm.package.config import FILE_NAME, Config
from nnpm.package.folder import Contents
from nnpm.rpc.tls import Tls

DEPLOY_TIMEOUT = 300.0
_THREADS = 2


class AsyncClient:
    """Everything that a mesh does for its users.

        async with AsyncClient() as client:
            await client.deploy("acme/tiny@^1", wait=True)
            answer = await client.infer("acme/tiny", {"x": np.ones((1, 4), np.float32)})

    Args:
        data: the data folder of a mesh on this machine; None = NNPM_* settings, then the profile, then the default
            data folder, then the default ports (`nnpm.mesh.find`).
        scheduler, control, registry, artifact: addresses (`host:port`) that replace single ones.
        tls: certificates; None = NNPM_TLS_*.

    Every method raises subclasses of `nnpm.errors.NnpmError`, and every call has a deadline.
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
        given = {"scheduler": scheduler, "control": control, "registry": registry, "artifact": artifact}
        found = find_mesh(Path(data) if data is not None else None)
        self.addresses = replace(found, **{name: address for name, address in given.items() if address})
        self._connection = Connection(self.addresses, tls or Tls.from_environment(os.environ))
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="nnpm-client")
        self._catalog = Catalog(self._connection)
        self._deployments = Deployments(self._connection)
        self._inferrer = Inferrer(self._connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; calls in flight are cancelled."""
        await self._connection.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    # Packages

    async def publish(
        self,
        path: Path | str,
        *,
        name: str = "",
        version: str = "",
        license: str = "",  # noqa: A002 (the manifest's word)
        on_progress: OnProgress = ignore_progress,
    ) -> Published:
        """Publishes a folder with nnpm.toml, or a bare model file (then name, version and license are needed).

        Given name, version or license replace those of nnpm.toml. Interrupted, it goes on when called again.
        """
        given = {"name": name, "version": version, "license": license}
        contents = await asyncio.get_running_loop().run_in_executor(self._executor, collect, Path(path), given)
        return await self.publish_contents(contents, on_progress=on_progress)

    async def publish_contents(self, contents: Contents, *, on_progress: OnProgress = ignore_progress) -> Published:
        """Publishes a package that `nnpm.package.folder` collected."""
        return await Publisher(self._connection, self._executor).publish(contents, on_progress)

    async def install(self, reference: str, to: Path | str, *, on_progress: OnProgress = ignore_progress) -> Installed:
        """Downloads and verifies the version that `acme/tiny@^1.2` means into the folder `to`."""
        resolved = await self._catalog.resolve(reference)
        return await self.install_version(resolved.version, to, on_progress=on_progress)

    async def install_version(
        self, version: Version, to: Path | str, *, on_progress: OnProgress = ignore_progress
    ) -> Installed:
        """Downloads and verifies one version into the folder `to`."""
        return await Installer(self._connection, self._executor).install(version, Path(to), on_progress)

    async def packages(self, namespace: str = "") -> tuple[Package, ...]:
        """Published packages, of one namespace or of all."""
        return await self._catalog.packages(namespace)

    async def search(self, query: str = "", limit: int = 50) -> tuple[Package, ...]:
        """Packages whose name, description or keywords match every word."""
        return await self._catalog.search(query, limit)

    async def package(self, name: str) -> Package:
        """One package."""
        return await self._catalog.package(name)

    async def versions(self, name: str) -> tuple[Version, ...]:
        """A package's published versions, highest first."""
        return await self._catalog.versions(name)

    async def version(self, name: str, version: str) -> Version:
        """One exact version."""
        return await self._catalog.version(name, version)

    async def resolve(self, reference: str) -> Resolution:
        """Which version a reference means, and why."""
        return await self._catalog.resolve(reference)

    async def tags(self, name: str) -> tuple[Tag, ...]:
        """A package's tags."""
        return await self._catalog.tags(name)

    async def set_tag(self, name: str, tag: str, version: str) -> Tag:
        """Makes or moves a tag."""
        return await self._catalog.set_tag(name, tag, version)

    async def delete_tag(self, name: str, tag: str) -> None:
        """Removes a tag."""
        await self._catalog.delete_tag(name, tag)

    async def yank(self, name: str, version: str, reason: str = "") -> Version:
        """Withdraws a version from ranges and tags."""
        return await self._catalog.yank(name, version, reason)

    async def unyank(self, name: str, version: str) -> Version:
        """Takes a yank back."""
        return await self._catalog.unyank(name, version)

    # Deployments

    async def deploy(
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
        """Serves a package, or changes the deployment of that name. `wait`: until it is ready, `timeout` seconds."""
        made = await self._deployments.deploy(reference, name=name, replicas=replicas, batching=batching, quota=quota)
        return await self._deployments.wait(made, timeout) if wait else made

    async def undeploy(self, name: str) -> Deployment:
        """Stops serving; takes a deployment, or a package that one deployment serves."""
        return await self._deployments.delete(name)

    async def pause(self, name: str) -> Deployment:
        """Unloads a deployment until it is resumed."""
        return await self._deployments.pause(name)

    async def resume(self, name: str, *, wait: bool = False, timeout: float = DEPLOY_TIMEOUT) -> Deployment:
        """Loads a paused deployment again."""
        resumed = await self._deployments.resume(name)
        return await self._deployments.wait(resumed, timeout) if wait else resumed

    async def deployment(self, name: str) -> Deployment:
        """One deployment, by its name or its package."""
        return await self._deployments.get(name)

    async def deployments(self) -> tuple[Deployment, ...]:
        """All deployments."""
        return await self._deployments.list()

    # Inference

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        request_id: str = "",
        timeout: float = TIMEOUT,
    ) -> Inference:
        """One call: numpy arrays (or lists, made to what the model declares) in, numpy arrays out.

        `model` is a deployment, a package or `package@range`; `timeout` is the deadline in seconds.
        """
        return await self._inferrer.infer(
            model, inputs, version=version, outputs=outputs, request_id=request_id, timeout=timeout
        )

    async def info(self, model: str, version: str = "") -> ModelInfo:
        """What a served model takes and gives, and in which versions."""
        return await self._inferrer.info(model, version)

    async def ready(self, model: str = "", version: str = "") -> bool:
        """Whether a model, or without a name the mesh, takes calls."""
        return await self._inferrer.ready(model, version)

    async def statistics(self, model: str = "") -> tuple[ModelStatistics, ...]:
        """Counts and mean times of one model, or of all."""
        return await self._inferrer.statistics(model)


def collect(path: Path, given: Mapping[str, str]) -> Contents:
    """The contents of a folder or of a bare model; what is `given` replaces what nnpm.toml says."""
    stated = {key: value for key, value in given.items() if value}
    if not path.exists():
        raise NotFound("FILE_NOT_FOUND", f"{path} does not exist", hint="name a folder with nnpm.toml, or a model file")
    if not path.is_dir():
        return package_folder.from_model(path, Config.build(stated, str(path)))
    described = path / FILE_NAME
    if stated.keys() >= {"name", "version", "license"} and not described.exists():
        return package_folder.from_folder(path, Config.build(stated, str(path)))
    config = Config.load(described)
    if stated:
        config = Config.build({**config.model_dump(exclude_defaults=True), **stated}, str(described))
    return package_folder.from_folder(path, config)
