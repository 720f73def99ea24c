"""How the command line and `nnpm.Client` find the mesh: flags, then `NNPM_*`, then a profile, then the data folder."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs

from nnpm.errors import InvalidArgument, Unavailable
from nnpm.mesh.data_folder import DataFolder, default_data_folder, lock_holder
from nnpm.mesh.ports import HOST, Ports
from nnpm.mesh.state import read_state

ADDRESSES = ("scheduler", "control", "registry", "artifact", "traces")


@dataclass(frozen=True, slots=True)
class MeshAddresses:
    """Where a client finds each listener, `host:port` or `unix:/path`; `traces` is "" when there is no trace ring.

    `source` says where the addresses come from, for messages: "the mesh in /data", "profile lab", ...
    """

    scheduler: str
    control: str
    registry: str
    artifact: str
    traces: str
    source: str


def find_mesh(data: Path | None = None, environ: Mapping[str, str] = os.environ) -> MeshAddresses:
    """The addresses of the mesh that a client means.

    The first of these that applies: `data` (the flag --data); NNPM_DATA; the profile that NNPM_PROFILE names, or the
    config file's default; the default data folder, if a mesh runs there; the default ports. Unless `data` is given,
    NNPM_SCHEDULER_ADDRESS, NNPM_CONTROL_ADDRESS, NNPM_REGISTRY_ADDRESS and NNPM_ARTIFACT_ADDRESS replace single ones.

    Raises:
        Unavailable: MESH_NOT_RUNNING when a data folder was named and no mesh runs in it.
        InvalidArgument: INVALID_SETTINGS when the config file can't be read or lacks the profile.
    """
    if data is not None:
        return _running_in(data)
    single = {
        name: environ[variable] for name in ADDRESSES if environ.get(variable := f"NNPM_{name.upper()}_ADDRESS", "")
    }
    if {"scheduler", "control", "registry", "artifact"} <= single.keys():
        return MeshAddresses(**{"traces": "", **single}, source="NNPM_*_ADDRESS")
    return replace(_without_addresses(environ), **single)


def data_folder(data: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The data folder that `up`, `down`, `status` and `logs` mean: --data, NNPM_DATA, the profile's, the default."""
    if data is not None:
        return data
    if environ.get("NNPM_DATA"):
        return Path(environ["NNPM_DATA"])
    _, profile = _profile(environ)
    return Path(profile["data"]) if "data" in profile else default_data_folder()


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's config file: NNPM_CONFIG, or config.toml in the system's place for such files."""
    named = environ.get("NNPM_CONFIG")
    return Path(named) if named else platformdirs.user_config_path("nnpm") / "config.toml"


def _without_addresses(environ: Mapping[str, str]) -> MeshAddresses:
    if environ.get("NNPM_DATA"):
        return _running_in(Path(environ["NNPM_DATA"]))
    name, profile = _profile(environ)
    if "data" in profile:
        return _running_in(Path(profile["data"]))
    if name:
        return replace(_default_ports(f"profile {name}"), **profile)
    return _running(DataFolder.at(default_data_folder())) or _default_ports("the default ports")


def _default_ports(source: str) -> MeshAddresses:
    ports = Ports()
    return MeshAddresses(
        scheduler=f"{HOST}:{ports.data}",
        control=f"{HOST}:{ports.control}",
        registry=f"{HOST}:{ports.registry}",
        artifact=f"{HOST}:{ports.artifact}",
        traces="",
        source=source,
    )


def _running_in(data: Path) -> MeshAddresses:
    folder = DataFolder.at(data)
    found = _running(folder)
    if found is None:
        raise Unavailable(
            "MESH_NOT_RUNNING",
            f"no mesh runs in {folder.root}",
            hint=f"start it with `nnpm up --data {folder.root}`",
            metadata={"data": str(folder.root)},
        )
    return found


def _running(folder: DataFolder) -> MeshAddresses | None:
    state = read_state(folder)
    if state is None or lock_holder(folder) is None:
        return None
    known = state.addresses
    return MeshAddresses(
        scheduler=known.scheduler,
        control=known.control,
        registry=known.registry,
        artifact=known.artifact,
        traces=known.traces,
        source=f"the mesh in {folder.root}",
    )


def _profile(environ: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """The profile in force: its name and what it says; ("", {}) for none."""
    path = config_file(environ)
    name = environ.get("NNPM_PROFILE", "")
    try:
        config: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        config = {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument("INVALID_SETTINGS", f"{path} is not valid TOML: {error}") from error
    name = name or str(config.get("default", ""))
    if not name:
        return "", {}
    profiles = config.get("profiles", {})
    if name not in profiles:
        raise InvalidArgument(
            "INVALID_SETTINGS",
            f"there is no profile {name!r} in {path}",
            hint=f"profiles there: {', '.join(sorted(profiles))}" if profiles else f"add [profiles.{name}] to it",
        )
    return name, _checked(profiles[name], name, path)


def _checked(profile: Any, name: str, path: Path) -> Mapping[str, str]:
    allowed = {"data", *ADDRESSES}
    if not isinstance(profile, dict) or not all(isinstance(value, str) for value in profile.values()):
        raise InvalidArgument("INVALID_SETTINGS", f"[profiles.{name}] in {path} must hold texts only")
    if unknown := sorted(profile.keys() - allowed):
        raise InvalidArgument(
            "INVALID_SETTINGS",
            f"[profiles.{name}] in {path} has unknown keys: {', '.join(unknown)}",
            hint=f"known are {', '.join(sorted(allowed))}",
        )
    return profile
