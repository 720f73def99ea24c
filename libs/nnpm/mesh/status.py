"""What `nnpm status` reports: every process of the mesh, asked for its health now."""

import asyncio
from dataclasses import asdict, dataclass

from nnpm.mesh.data_folder import DataFolder, lock_holder
from nnpm.mesh.health import all_serving
from nnpm.mesh.state import RunningProcess, read_state
from nnpm.rpc.tls import Tls


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One process. `pid` is None between a crash and the restart, and for a Redis that the mesh didn't start."""

    name: str
    pid: int | None
    address: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """The mesh of one data folder; not running means no services, and not healthy."""

    healthy: bool
    services: tuple[ServiceStatus, ...]

    def as_json(self) -> dict[str, object]:
        """The shape that scripts rely on: `{"healthy", "services": [{"name", "pid", "address", "healthy"}]}`."""
        return {"healthy": self.healthy, "services": [asdict(service) for service in self.services]}


async def mesh_status(folder: DataFolder, timeout: float = 2.0, *, tls: Tls | None = None) -> MeshStatus:
    """Ask every process of the mesh in `folder`, all at once, each for at most `timeout` seconds.

    Args:
        tls: what a mesh with TLS is asked with.
    """
    state = read_state(folder)
    if state is None or lock_holder(folder) is None:
        return MeshStatus(healthy=False, services=())
    services = await asyncio.gather(*(_ask(process, timeout, tls) for process in state.processes))
    return MeshStatus(all(service.healthy for service in services) and state.ready, tuple(services))


async def _ask(process: RunningProcess, timeout: float, tls: Tls | None) -> ServiceStatus:
    asked = await all_serving(process.health_at, timeout, tls=tls)
    return ServiceStatus(process.name, process.pid, process.address, asked)
