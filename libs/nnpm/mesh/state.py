"""mesh.json: what the running mesh consists of, written by the supervisor for everybody who looks from outside."""

import json
from dataclasses import asdict, dataclass, replace

from nnpm.errors import FailedPrecondition
from nnpm.mesh.data_folder import DataFolder, write_whole

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the mesh's own listeners are, each `host:port` or `unix:/path`."""

    scheduler: str
    control: str
    registry: str
    artifact: str
    traces: str


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """One process of the mesh. `pid` is None while it is being restarted, and for a Redis that the mesh didn't start.

    Addresses are `host:port`, `unix:/path`, or a Redis URL; `health_at` is where the process is asked for its health,
    `metrics` where Prometheus may read ("" for nowhere).
    """

    name: str
    pid: int | None
    address: str
    health_at: tuple[str, ...]
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class MeshState:
    """The whole of mesh.json. `ready` turns true when everything has been healthy once."""

    supervisor: int
    version: str
    addresses: Addresses
    processes: tuple[RunningProcess, ...]
    ready: bool = False

    def with_pid(self, name: str, pid: int | None) -> "MeshState":
        """The state after the process `name` was started as `pid`, or died (None)."""
        processes = (replace(known, pid=pid) if known.name == name else known for known in self.processes)
        return replace(self, processes=tuple(processes))


def write_state(folder: DataFolder, state: MeshState) -> None:
    write_whole(folder.state_file, json.dumps({"format": FORMAT, **asdict(state)}, indent=2) + "\n")


def read_state(folder: DataFolder) -> MeshState | None:
    """What was written last; None when no mesh runs (or ran, and was stopped in order).

    Raises FailedPrecondition DATA_FOLDER_UNUSABLE for a file that no supervisor wrote.
    """
    try:
        return _parse(folder.state_file.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as fault:
        raise FailedPrecondition(
            "DATA_FOLDER_UNUSABLE",
            f"{folder.state_file} is damaged, so that it can't say what runs there",
            hint="`nnpm up` with the same --data writes it anew",
            metadata={"data": str(folder.root)},
        ) from fault


def _parse(content: bytes) -> MeshState:
    found = json.loads(content)
    return MeshState(
        supervisor=found["supervisor"],
        version=found["version"],
        addresses=Addresses(**found["addresses"]),
        processes=tuple(
            RunningProcess(**{**process, "health_at": tuple(process["health_at"])}) for process in found["processes"]
        ),
        ready=found["ready"],
    )


def remove_state(folder: DataFolder) -> None:
    folder.state_file.unlink(missing_ok=True)
