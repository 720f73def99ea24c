"""Which processes make a mesh on one machine, each with its command, its settings and its place in the order."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnpm.errors import InvalidArgument
from nnpm.mesh.data_folder import DataFolder
from nnpm.mesh.ports import HOST, Ports
from nnpm.mesh.redis_server import RedisServer
from nnpm.mesh.state import Addresses
from nnpm.settings import value_in_file


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """One process to start.

    `address` is where its clients find it, `health_at` where it is asked for its health. `grace` is how long, in
    seconds, it may take to stop. `metrics` is where it serves Prometheus metrics, "" for nowhere.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    address: str
    health_at: tuple[str, ...]
    grace: float = 10.0
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class MeshPlan:
    """All processes, by tiers: a tier starts when the one before it is healthy, and stops before that one does.

    `outside_redis` is the address of a Redis that runs already (without its password), "" when the plan starts one.
    `forward` is where the traces go on to, besides the ring; "" for nowhere.
    """

    addresses: Addresses
    tiers: tuple[tuple[ProcessPlan, ...], ...]
    outside_redis: str = ""
    forward: str = ""

    def processes(self) -> tuple[ProcessPlan, ...]:
        return tuple(process for tier in self.tiers for process in tier)


def plan_mesh(
    folder: DataFolder, *, run: Path, ports: Ports, workers: int, environ: Mapping[str, str], redis: RedisServer | None
) -> MeshPlan:
    """Lay out a mesh. Touches nothing.

    Redis goes first. Everything else starts together and waits for its peers by itself, as it must anyway when one of
    them is restarted later; in reverse, workers stop first, then the scheduler, then what they fetched from.

    Args:
        run: the folder of the sockets.
        environ: the environment that the services inherit. What a person set in it about databases, stores, logs and
            limits stays; addresses are the mesh's own.
        redis: the server to start; None when NNPM_REDIS_URL in `environ` names one that runs already.
    """
    if workers < 0 or workers > 999:
        raise InvalidArgument("INVALID_SETTINGS", f"--workers must lie between 0 and 999, not {workers}")
    if environ.get("NNPM_TLS_CERT") and not environ.get("NNPM_TLS_CA"):
        raise InvalidArgument(
            "INVALID_SETTINGS",
            "NNPM_TLS_CERT is set and NNPM_TLS_CA is not, so the services of the mesh could not call each other",
            hint=f"name the authority's certificate in NNPM_TLS_CA; the certificate must be valid for {HOST}",
        )
    addresses = Addresses(
        scheduler=f"{HOST}:{ports.data}",
        control=f"{HOST}:{ports.control}",
        registry=f"{HOST}:{ports.registry}",
        artifact=f"{HOST}:{ports.artifact}",
        traces=f"unix:{run / 'traces.sock'}",
    )
    redis_socket = run / "redis.sock"
    redis_url = f"unix://{redis_socket}" if redis else outside_redis(environ)
    shared = _shared_settings(environ, addresses, redis_url)
    builder = _ServiceBuilder(shared, environ.get("NNPM_METRICS_LISTEN", ""))
    services = (
        builder.service("registry", [addresses.registry], _registry(folder, addresses, environ)),
        builder.service("artifact", [addresses.artifact], _artifact(folder, addresses, environ)),
        builder.service(
            "scheduler-0", [addresses.scheduler, addresses.control], _scheduler(folder, run, addresses, environ), 30.0
        ),
        *(_worker(builder, folder, run, number, environ) for number in range(workers)),
    )
    if redis is None:
        return MeshPlan(addresses, (services,), _without_password(redis_url), environ.get("NNPM_OTLP_ENDPOINT", ""))
    server = ProcessPlan("redis", redis.command(folder.redis, redis_socket), dict(environ), redis_url, (redis_url,))
    return MeshPlan(addresses, ((server,), services), "", environ.get("NNPM_OTLP_ENDPOINT", ""))


class _ServiceBuilder:
    """Makes the plan of one Python service after another; each gets the next metrics port."""

    def __init__(self, shared: Mapping[str, str], metrics_listen: str) -> None:
        self._shared = shared
        self._metrics_listen = metrics_listen
        self._made = 0

    def service(
        self, name: str, listens: Sequence[str], settings: Mapping[str, str], grace: float = 10.0
    ) -> ProcessPlan:
        metrics = _nth_port(self._metrics_listen, self._made)
        self._made += 1
        environment = {**self._shared, **settings, "NNPM_METRICS_LISTEN": metrics}
        module = f"nnpm_{name.partition('-')[0]}"
        return ProcessPlan(
            name, (sys.executable, "-m", module), environment, listens[0], tuple(listens), grace, metrics
        )


def _shared_settings(environ: Mapping[str, str], addresses: Addresses, redis_url: str) -> Mapping[str, str]:
    own = {
        "NNPM_REDIS_URL": redis_url,
        "NNPM_REGISTRY_ADDRESS": addresses.registry,
        "NNPM_ARTIFACT_ADDRESS": addresses.artifact,
        "NNPM_SCHEDULER_ADDRESS": addresses.scheduler,
        "NNPM_CONTROL_ADDRESS": addresses.control,
        "NNPM_OTLP_ENDPOINT": addresses.traces,
        "NNPM_LOG_FORMAT": "json",
        # gRPC's fork handlers break a child of uvloop (which forks, where asyncio would vfork): 4 of 60 under load.
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        "PYTHONUNBUFFERED": "1",
    }
    return {name: value for name, value in environ.items() if name.removesuffix("_FILE") not in own} | own


def outside_redis(environ: Mapping[str, str]) -> str:
    """The Redis that runs already, by NNPM_REDIS_URL or the file that NNPM_REDIS_URL_FILE names; "" for none."""
    return value_in_file(environ, "NNPM_REDIS_URL") or environ.get("NNPM_REDIS_URL", "")


def _given_or(environ: Mapping[str, str], variable: str, default: str) -> Mapping[str, str]:
    """A setting that a person may have made, by its value or by a file."""
    return {} if environ.get(f"{variable}_FILE") else {variable: environ.get(variable, default)}


def _registry(folder: DataFolder, addresses: Addresses, environ: Mapping[str, str]) -> Mapping[str, str]:
    return {
        "NNPM_REGISTRY_LISTEN": addresses.registry,
        **_given_or(environ, "NNPM_REGISTRY_DATABASE_URL", folder.database_url("registry")),
    }


def _artifact(folder: DataFolder, addresses: Addresses, environ: Mapping[str, str]) -> Mapping[str, str]:
    return {
        "NNPM_ARTIFACT_LISTEN": addresses.artifact,
        **_given_or(environ, "NNPM_ARTIFACT_DATABASE_URL", folder.database_url("artifact")),
        **_given_or(environ, "NNPM_ARTIFACT_STORE", folder.packs.as_uri()),
    }


def _scheduler(folder: DataFolder, run: Path, addresses: Addresses, environ: Mapping[str, str]) -> Mapping[str, str]:
    return {
        "NNPM_SCHEDULER_LISTEN": addresses.scheduler,
        "NNPM_CONTROL_LISTEN": addresses.control,
        "NNPM_MESH_LISTEN": f"unix:{run / 'mesh-0.sock'}",
        **_given_or(environ, "NNPM_SCHEDULER_DATABASE_URL", folder.database_url("scheduler")),
    }


def _worker(
    builder: _ServiceBuilder, folder: DataFolder, run: Path, number: int, environ: Mapping[str, str]
) -> ProcessPlan:
    name = f"worker-{number}"
    listen = f"unix:{run / f'{name}.sock'}"
    settings = {
        "NNPM_WORKER_NAME": name,
        "NNPM_WORKER_LISTEN": listen,
        **_given_or(environ, "NNPM_WORKER_CACHE_DIR", str(folder.worker_cache)),
    }
    return builder.service(name, [listen], settings, grace=30.0)


def _nth_port(listen: str, number: int) -> str:
    host, colon, port = listen.rpartition(":")
    return f"{host}:{int(port) + number}" if colon and port != "0" else listen


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def inherited_environment() -> dict[str, str]:
    """The environment that services inherit, without what only makes sense for the command line itself."""
    return {name: value for name, value in os.environ.items() if name not in {"NNPM_DATA", "NNPM_PROFILE"}}
